// npx ava --config test/nightly/ava.config.mjs: what takes too long for npm test.
import { readFileSync } from 'node:fs';

const { ava } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));

export default { ...ava, files: ['test/nightly/*.test.ts'], timeout: '30m' };
