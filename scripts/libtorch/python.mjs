import { execFileSync } from 'node:child_process';

// find_spec does not import torch, which would take seconds.
const findTorch = [
  'import importlib.util',
  "spec = importlib.util.find_spec('torch')",
  "print(spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else '')",
].join('\n');

/** The commands that may start Python, the chosen one first. */
export function pythonCommands(env) {
  return env.PYTHON ? [env.PYTHON] : ['python3', 'python'];
}

/**
 * The first Python that starts.
 * @returns {string | null}
 */
export function findPython(env) {
  for (const command of pythonCommands(env)) {
    try {
      execFileSync(command, ['-c', 'pass'], { env, stdio: 'ignore', timeout: 30_000 });
      return command;
    } catch {
      // not there, or broken: try the next
    }
  }
  return null;
}

/**
 * The folder of the `torch` package that Python would import.
 * @returns {string | null} null where it has none
 */
export function findPythonTorch(python, env) {
  try {
    const options = { env, encoding: 'utf8', timeout: 30_000, stdio: ['ignore', 'pipe', 'ignore'] };
    return execFileSync(python, ['-c', findTorch], options).trim() || null;
  } catch {
    return null;
  }
}
