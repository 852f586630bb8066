// Formats the C++ sources; with --check it only reports those that are not formatted.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../native', import.meta.url));
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((name) => /\.(cc|h)$/.test(name))
  .map((name) => join(folder, name));
const mode = process.argv.includes('--check') ? ['--dry-run', '--Werror'] : ['-i'];
const program = createRequire(import.meta.url).resolve('clang-format');
const { status } = spawnSync(process.execPath, [program, ...mode, ...files], { stdio: 'inherit' });
process.exitCode = status ?? 1;
