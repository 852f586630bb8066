import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';

const options = { encoding: 'utf8', timeout: 30_000 } as const;

/**
 * Where a package of Python lies: it is looked for and not imported, which would take seconds and run its code. Python looks
 * into the current folder first, which may be anybody's, and so that is left out; what PYTHONPATH names and what a user
 * installed for themselves (`pip install --user`) is not, as `python3 -I` would.
 */
const question = (name: string) =>
  [
    'import os, sys',
    'here = os.path.realpath(os.getcwd())',
    'sys.path[:] = [each for each in sys.path if each and os.path.realpath(each) != here]',
    'import importlib.util',
    `spec = importlib.util.find_spec('${name}')`,
    "print(spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else '')",
  ].join('\n');

/** @internal The commands that may start Python, the chosen one first. */
export function pythonCommands(): string[] {
  return [...new Set([process.env.PYTHON, 'python3', 'python'])].filter((command) => command !== undefined);
}

/** @internal The folder of a package in the Python of a command; '' where there is neither. */
export async function packageFolder(command: string, name: string): Promise<string> {
  const found = await promisify(execFile)(command, ['-c', question(name)], options).catch(() => null);
  return found?.stdout.trim() ?? '';
}

/** @internal The same, for when nothing else is to be done meanwhile. */
export function packageFolderSync(command: string, name: string): string {
  try {
    return execFileSync(command, ['-c', question(name)], { ...options, stdio: 'pipe' }).trim();
  } catch {
    return ''; // not there, or broken
  }
}
