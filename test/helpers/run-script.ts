import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const packageFolder = fileURLToPath(new URL('../../../', import.meta.url));

export interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stderr: string;
}

/** Runs a script in a process of its own, in the package's folder, with more in its environment if need be. */
export function runScript(script: string, environment: NodeJS.ProcessEnv = {}): Promise<Ending> {
  const args = ['--expose-gc', '--input-type=module', '--eval', script];
  return new Promise((resolve) => {
    const options = { cwd: packageFolder, env: { ...process.env, ...environment } };
    const child = execFile(process.execPath, args, options, (_error, _stdout, stderr) => {
      resolve({ code: child.exitCode, signal: child.signalCode, stderr });
    });
  });
}
