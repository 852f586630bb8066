import { availableParallelism, totalmem } from 'node:os';

// A test process with LibTorch and a model in it takes up to a GiB and a half.
const cores = availableParallelism();
const processes = Math.max(1, Math.min(cores, Math.floor(totalmem() / (1.5 * 1024 ** 3))));
const threads = process.env.OMP_NUM_THREADS ?? String(Math.max(1, Math.floor(cores / processes)));

export default {
  files: ['test/**/*.test.ts', '!test/nightly/**'],
  typescript: { rewritePaths: { 'test/': 'dist/test/' }, compile: false },
  workerThreads: false,
  nodeArguments: ['--expose-gc'],
  // The processes share the cores. Threads of LibTorch that wait sleep: spinning, they take the cores from the others.
  environmentVariables: { OMP_NUM_THREADS: threads, OMP_WAIT_POLICY: 'PASSIVE' },
  timeout: '10m',
  concurrency: processes,
};
