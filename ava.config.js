import { availableParallelism, totalmem } from 'node:os';

// A test process with LibTorch and a model in it takes up to a GiB and a half.
const processes = Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / (1.5 * 1024 ** 3))));

export default {
  files: ['test/**/*.test.ts', '!test/nightly/**'],
  typescript: { rewritePaths: { 'test/': 'dist/test/' }, compile: false },
  workerThreads: false,
  nodeArguments: ['--expose-gc'],
  // Threads of LibTorch that wait sleep: spinning, they take the cores from the other files' processes.
  environmentVariables: { OMP_WAIT_POLICY: 'PASSIVE' },
  timeout: '10m',
  concurrency: processes,
};
