import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from './addon.js';

/**
 * This package's own version.
 * @internal
 */
export const packageVersion = (
  JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }
).version;
