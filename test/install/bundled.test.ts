import { cpSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { temporaryFolder } from '../helpers/package-copy.js';
import { root } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';

// A bundler may carry the package's files off to where its package.json is not.

for (const [where, packageJson] of [
  ['another package', { name: 'app', version: '7.0.0', type: 'module' }],
  ['no package', null],
] as const) {
  test(`in ${where}, importing fails at once, with the cure`, async (t) => {
    const folder = temporaryFolder(t);
    cpSync(join(root, 'dist/lib'), join(folder, 'bundle'), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    if (packageJson) writeFileSync(join(folder, 'package.json'), JSON.stringify(packageJson));
    const { stderr } = await runScript(`
      const failure = await import(${JSON.stringify(join(folder, 'bundle/index.js'))}).catch((error) => error);
      process.stderr.write(JSON.stringify({ code: failure.code, message: failure.message }));`);
    const { code, message } = JSON.parse(stderr) as { code: string; message: string };
    t.is(code, 'ERR_ADDON_LOAD');
    t.regex(message, /mark 'node-gradcam' as external/);
    t.true(message.includes(join(folder, 'bundle')));
  });
}
