// npm run build:each-file: compiles each C++ file by itself, with the precompiled header, in build-variants/. The other build
// compiles groups of files as one, which hides what a file forgets to include, and names that two files share.
import { join } from 'node:path';
import { buildAddon } from '../../../scripts/addon.mjs';
import { root } from './variant.mjs';

try {
  const buildFolder = join(root, 'build-variants', 'each-file', 'build');
  await buildAddon((line) => console.error(line), { buildFolder, unity: '0' });
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
