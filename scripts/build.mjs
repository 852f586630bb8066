// Builds what is missing or stale: the native addon, then the TypeScript and the server's page. With --typescript only
// the latter two.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, statSync } from 'node:fs';
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
  await buildPage();
}

/** The server's page, unless it is newer than all it is made of. */
async function buildPage() {
  const sources = join(root, 'lib', 'server', 'page');
  const built = join(root, 'dist', 'lib', 'server', 'page', 'index.html');
  const madeOf = [
    ...readdirSync(sources, { recursive: true }).map((name) => join(sources, name)),
    ...['colormaps', 'colormap-tables'].map((name) =>
      join(root, 'lib', 'visualization', 'colours', `${name}.ts`),
    ),
    join(root, 'package-lock.json'),
  ];
  const newest = Math.max(...madeOf.map((path) => statSync(path).mtimeMs));
  if (existsSync(built) && statSync(built).mtimeMs > newest) return;
  const { build: bundle } = await import('vite');
  await bundle({ configFile: join(sources, 'vite.config.ts'), logLevel: 'warn' });
}

try {
  await build();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
