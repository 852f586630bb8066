import { execFileSync } from 'node:child_process';

// find_spec does not import torch, which would take seconds. Python looks into the current folder first, which may be
// anybody's, and so that is left out; what PYTHONPATH names and what `pip install --user` put there is not.
const findTorch = [
  'import os, sys',
  'here = os.path.realpath(os.getcwd())',
  'sys.path[:] = [each for each in sys.path if each and os.path.realpath(each) != here]',
  'import importlib.util',
  "spec = importlib.util.find_spec('torch')",
  "print(spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else '')",
].join('\n');

/** The commands that may start Python, the chosen one first. */
export function pythonCommands(env) {
  return [...new Set([env.PYTHON, 'python3', 'python'])].filter(Boolean);
}

/**
 * Asks each Python that starts for its `torch`, without importing it.
 * @returns {{ command: string, torch: string | null }[]} torch is the package's folder
 */
export function askPythons(env) {
  const answers = [];
  for (const command of pythonCommands(env)) {
    try {
      const options = { env, encoding: 'utf8', timeout: 30_000, stdio: ['ignore', 'pipe', 'ignore'] };
      answers.push({ command, torch: execFileSync(command, ['-c', findTorch], options).trim() || null });
    } catch {
      // not there, or broken: try the next
    }
  }
  return answers;
}
