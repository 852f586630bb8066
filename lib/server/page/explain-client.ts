// What the page asks of the server. Addresses are relative: the server may be mounted anywhere.

export interface LayerDescription {
  readonly path: string;
  readonly type: string;
  readonly depth: number;
  readonly shape: readonly number[] | null;
  readonly called: boolean;
}

export interface ModelDescription {
  readonly name: string;
  readonly title: string;
  readonly description: string | null;
  readonly input: { readonly width: number; readonly height: number };
  readonly labels: readonly string[] | null;
  readonly method: string;
  readonly methods: readonly string[];
  readonly layers: readonly LayerDescription[];
  readonly layer: readonly string[];
}

export interface ClassReport {
  readonly class: number;
  readonly label: string | null;
  readonly probability: number | null;
}

export interface ExplainedClass extends ClassReport {
  readonly score: number;
  readonly has_positive_evidence: boolean;
  readonly hot_share: number;
  readonly heatmap: { readonly shape: readonly [number, number]; readonly data: string };
}

export interface Answer {
  readonly method: string;
  readonly layers: readonly { readonly path: string; readonly shape: readonly number[] }[];
  /** Why there are no probabilities. */
  readonly note: string | null;
  readonly top: readonly ClassReport[];
  readonly explained: readonly ExplainedClass[];
  readonly image: {
    readonly width: number;
    readonly height: number;
    readonly original_width: number;
    readonly original_height: number;
    readonly resized_width: number;
    readonly resized_height: number;
    readonly crop_left: number;
    readonly crop_top: number;
  };
  readonly batch_size: number;
  readonly pending: number;
  readonly timings_ms: Readonly<
    Record<'decode' | 'queue' | 'plan' | 'forward' | 'backward' | 'cam' | 'total', number>
  >;
}

/** The server refused; 401 means that it wants a token. */
export class ServerError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const tokenKey = 'gradcam-token';

export function setToken(token: string): void {
  sessionStorage.setItem(tokenKey, token);
}

async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const headers = new Headers(init.headers);
  const token = sessionStorage.getItem(tokenKey);
  if (token) headers.set('authorization', `Bearer ${token}`);
  const response = await fetch(path, { ...init, headers });
  const body = (await response.json().catch(() => null)) as (T & { error?: string }) | null;
  if (response.ok && body !== null) return body;
  throw new ServerError(response.status, body?.error ?? `The server answered ${response.status}.`);
}

export async function listModels(): Promise<string[]> {
  return (await ask<{ models: string[] }>('explain')).models;
}

export async function describeModel(name: string): Promise<ModelDescription> {
  return await ask<ModelDescription>(`explain/${encodeURIComponent(name)}`);
}

export async function explain(
  model: string,
  picture: Blob,
  wish: { readonly method: string; readonly layers: readonly string[]; readonly classes: readonly number[] },
  signal: AbortSignal,
): Promise<Answer> {
  const query = new URLSearchParams({ format: 'json', method: wish.method });
  for (const layer of wish.layers) query.append('layer', layer);
  for (const each of wish.classes) query.append('class', String(each));
  return await ask<Answer>(`explain/${encodeURIComponent(model)}?${query}`, {
    method: 'POST',
    body: picture,
    headers: { 'content-type': picture.type || 'application/octet-stream' },
    signal,
  });
}

/** The map's values, row by row. */
export function decodeHeatmap({ data }: ExplainedClass['heatmap']): Float32Array {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
