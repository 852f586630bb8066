import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { doctor } from 'node-gradcam';

/** What some tests need and not every machine has. */
export interface Requirement {
  /** What is missing here, or null. Asked when it is needed: asking loads LibTorch, or starts a process. */
  readonly missing: () => string | null;
  /** The one command, or what else, that brings it. */
  readonly enabledBy: string;
}

export type RequirementName =
  | 'CUDA'
  | 'torchvision'
  | 'Chromium'
  | 'Redis'
  | 'curl'
  | 'namespaces'
  | 'openssl'
  | 'python3';

/** Debian's Chromium, or the browser that CHROMIUM names. */
export const chromiumPath: string | undefined = (
  process.env.CHROMIUM ? [process.env.CHROMIUM] : ['/usr/bin/chromium', '/usr/bin/google-chrome']
).find((path) => existsSync(path));

const program =
  (name: string, asked = '--version') =>
  () =>
    spawnSync(name, [asked]).status === 0 ? null : `there is no ${name}`;

export const requirements: Readonly<Record<RequirementName, Requirement>> = {
  CUDA: {
    missing: () => {
      const { available, reason } = doctor().cuda;
      return available ? null : reason;
    },
    enabledBy: 'on a machine with a CUDA device: LIBTORCH=/path/to/a/CUDA/build npm test',
  },
  torchvision: {
    missing: () => {
      const { torchvision } = doctor();
      return torchvision ? torchvision.problem : "torchvision's operators were not found";
    },
    enabledBy: 'node scripts/fetch-torchvision.mjs',
  },
  Chromium: {
    missing: () => (chromiumPath ? null : 'there is no Chromium'),
    enabledBy: 'apt-get install chromium (or set CHROMIUM=/path/to/it)',
  },
  Redis: { missing: program('redis-server'), enabledBy: 'apt-get install redis-server' },
  curl: { missing: program('curl'), enabledBy: 'apt-get install curl' },
  namespaces: {
    missing: () =>
      spawnSync('unshare', ['--map-root-user', '--mount', 'true']).status === 0
        ? null
        : 'file systems cannot be mounted in a namespace of its own',
    enabledBy: 'a Linux that lets users make namespaces (sysctl kernel.unprivileged_userns_clone=1)',
  },
  openssl: { missing: program('openssl', 'version'), enabledBy: 'apt-get install openssl' },
  python3: { missing: program('python3'), enabledBy: 'apt-get install python3 python3-pip' },
};
