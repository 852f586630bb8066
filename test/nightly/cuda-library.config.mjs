// npm run test:cuda-library: the tests it names, one file after the other.
import usual from '../../ava.config.js';

export default { ...usual, files: ['test/**/*.test.ts'], concurrency: 1 };
