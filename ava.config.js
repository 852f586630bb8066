import { availableParallelism } from 'node:os';
import { jobsAtOnce } from './scripts/jobs.mjs';

const processes = jobsAtOnce(1.5); // with LibTorch and a model in it
const threads = process.env.OMP_NUM_THREADS ?? String(Math.floor(availableParallelism() / processes));

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
