import { execFileSync } from 'node:child_process';
import os from 'node:os';
import { doctor } from '../dist/lib/index.js';

/** What the figures were measured on. */
export async function describeMachine({ python, threads }) {
  const versions = execFileSync(
    python,
    ['-c', 'import torch, sys; print(torch.__version__, sys.version.split()[0])'],
    { encoding: 'utf8' },
  )
    .trim()
    .split(' ');
  const { libtorch, cpuCapability } = doctor();
  return {
    date: new Date().toISOString().slice(0, 10),
    processor: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()}`,
    node: process.version,
    libtorch: libtorch.version,
    python: versions[1],
    torch: versions[0],
    cpuCapability,
    threads,
    loadAverage: os.loadavg().map((load) => Number(load.toFixed(2))),
  };
}
