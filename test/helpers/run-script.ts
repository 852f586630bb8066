import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import PQueue from 'p-queue';
import { root } from './root.js';

export interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

// Tests that are processes of their own need not be serial: as many run at once as there are cores.
const queue = new PQueue({ concurrency: availableParallelism() });

/**
 * Runs a script in a process of its own, in the package's folder, with more in its environment if need be, and by another
 * command in front of Node's (`prlimit ...`). Waits where as many run as there are cores.
 */
export function runScript(
  script: string,
  environment: NodeJS.ProcessEnv = {},
  through: readonly string[] = [],
): Promise<Ending> {
  const [command, ...args] = [
    ...through,
    process.execPath,
    '--expose-gc',
    '--input-type=module',
    '--eval',
    script,
  ];
  const options = { cwd: root, env: { ...process.env, ...environment } };
  const run = () =>
    new Promise<Ending>((resolve) => {
      const child = execFile(command as string, args, options, (_error, stdout, stderr) => {
        resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr });
      });
    });
  return queue.add(run);
}
