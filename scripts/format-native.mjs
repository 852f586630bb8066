// Formats our C++ sources; with --check it only reports those that are not formatted.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const files = ['native', 'tools'].flatMap((name) => {
  const folder = fileURLToPath(new URL(`../${name}`, import.meta.url));
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.(cc|h)$/.test(file) && !file.startsWith('third_party'))
    .map((file) => join(folder, file));
});
const mode = process.argv.includes('--check') ? ['--dry-run', '--Werror'] : ['-i'];
const program = createRequire(import.meta.url).resolve('clang-format');
const { status } = spawnSync(process.execPath, [program, ...mode, ...files], { stdio: 'inherit' });
process.exitCode = status ?? 1;
