// npx ava --config test/nightly/ava.config.mjs: what takes too long for npm test, one file after the other.
import usual from '../../ava.config.js';

export default {
  ...usual,
  files: ['test/nightly/*.test.ts', '!test/nightly/cuda-library.test.ts'],
  timeout: '30m',
  concurrency: 1,
};
