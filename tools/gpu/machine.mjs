import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { root } from './folders.mjs';

// Of the installed packages' metadata: importing torch would take seconds.
const askPython = `
import importlib.metadata, json, platform
def version(name):
    try: return importlib.metadata.version(name)
    except Exception: return None
print(json.dumps({'python': platform.python_version(), 'torch': version('torch'), 'torchvision': version('torchvision')}))
`;

/** What the numbers and results were got on. */
export function describeMachine(python) {
  const gpus = answer('nvidia-smi', ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'])
    ?.split('\n')
    .map((line) => {
      const [name, driver, memory] = line.split(', ');
      return { name, driver, memory };
    });
  return {
    gpus: gpus ?? [],
    cpu: cpus()[0]?.model ?? null,
    cores: availableParallelism(),
    memory: `${Math.round(totalmem() / 1024 ** 3)} GiB`,
    ...JSON.parse(answer(python, ['-c', askPython]) ?? '{}'),
    node: process.version,
    commit: answer('git', ['-C', root, 'rev-parse', 'HEAD']),
  };
}

function answer(program, args) {
  try {
    const options = { encoding: 'utf8', timeout: 30_000, stdio: ['ignore', 'pipe', 'ignore'] };
    return execFileSync(program, args, options).trim() || null;
  } catch {
    return null;
  }
}
