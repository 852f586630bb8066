import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { root } from './root.js';

export function temporaryFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'gradcam-test-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * A copy of the package with an addon of one's choice: a file, bytes, or none.
 * @returns the path of its module
 */
export function packageWith(t: ExecutionContext, addon: string | Buffer | null): string {
  const folder = temporaryFolder(t);
  cpSync(join(root, 'dist/lib'), join(folder, 'dist/lib'), { recursive: true });
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  mkdirSync(join(folder, 'build/cmake'), { recursive: true });
  const file = join(folder, 'build/cmake/gradcam.node');
  if (typeof addon === 'string') cpSync(addon, file);
  else if (addon) writeFileSync(file, addon);
  return join(folder, 'dist/lib/index.js');
}
