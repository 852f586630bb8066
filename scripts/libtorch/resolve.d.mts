import type { fetch } from 'undici';

// For the tests; the module itself runs before TypeScript is compiled.
export class LibTorchNotFoundError extends Error {
  readonly code: 'ERR_LIBTORCH_NOT_FOUND';
}

export interface LibTorch {
  root: string;
  version: string;
  cuda: boolean;
  source: 'LIBTORCH' | 'python' | 'cache' | 'LIBTORCH_URL' | 'official archive' | 'pip';
}

export function resolveLibTorch(options?: {
  env?: NodeJS.ProcessEnv;
  fetchMissing?: boolean;
  log?: (line: string) => void;
  officialArchive?: { url: string; sha256: string; bytes?: number } | null;
  network?: { fetch?: typeof fetch; connectTimeout?: number; stallTimeout?: number };
}): Promise<LibTorch>;
