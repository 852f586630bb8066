// Builds what is missing or stale: the native addon, then the TypeScript. With --typescript only the latter.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAddon } from './addon.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

async function build() {
  if (!process.argv.includes('--typescript')) await buildAddon((line) => console.error(line));
  // An installed package has its JavaScript already.
  if (!existsSync(join(root, 'tsconfig.json'))) return;
  const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [compiler, '-p', root], { stdio: 'inherit' });
  if (status !== 0) throw new Error('The TypeScript could not be compiled.');
  chmodSync(join(root, 'dist', 'lib', 'cli', 'main.js'), 0o755);
}

try {
  await build();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
