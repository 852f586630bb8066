import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { makeLibTorch } from '../helpers/fake-libtorch.js';
import { temporaryFolder } from '../helpers/package-copy.js';
import { rootUrl } from '../helpers/root.js';
import { testWith } from '../helpers/test-with.js';

// Python is asked from a folder of somebody else's, in which everything has the name of what Python would import.

const withPython = testWith('python3');

/** What Python imports by itself, or we would have it import. */
const startup = ['pip', 'importlib', 'runpy', 'site', 'os', 'sys', 'sitecustomize', 'usercustomize', 'json'];

/** A folder whose Python packages leave a mark when their code runs, and with what looks like LibTorch and torchvision. */
function hostileFolder(t: ExecutionContext, others: readonly string[] = startup) {
  const folder = join(temporaryFolder(t), 'a folder');
  const marks = join(folder, 'marks');
  mkdirSync(marks, { recursive: true });
  const code = (name: string) => `open(${JSON.stringify(join(marks, name))}, 'w').close()\n`;
  for (const name of ['torch', 'torchvision', ...others]) {
    mkdirSync(join(folder, name), { recursive: true });
    for (const file of ['__init__.py', '__main__.py', 'util.py'])
      writeFileSync(join(folder, name, file), code(`${name}-${file}`));
  }
  makeLibTorch(join(folder, 'torch'));
  writeFileSync(join(folder, 'torchvision', '_C.so'), '');
  return { folder, marks: () => readdirSync(marks) };
}

/** What a module tells in a process whose folder is that one. */
function inFolder(folder: string, script: string, env: NodeJS.ProcessEnv = {}): unknown {
  const args = ['--input-type=module', '--eval', script];
  const { PYTHON: _, ...usual } = process.env;
  return JSON.parse(
    execFileSync(process.execPath, args, { cwd: folder, encoding: 'utf8', env: { ...usual, ...env } }),
  );
}

const asked = {
  'the install script for torch': (name: string) => `
    const { askPythons } = await import(${JSON.stringify(rootUrl('scripts/libtorch/python.mjs'))});
    const found = ${name === 'torch'} ? askPythons(process.env) : [];
    console.log(JSON.stringify(found.map(({ torch }) => torch ?? '')));`,
  'the library for torchvision': () => `
    const { packageFolder, packageFolderSync, pythonCommands } =
      await import(${JSON.stringify(rootUrl('dist/lib/addon/python.js'))});
    const found = pythonCommands().map((command) => packageFolderSync(command, 'torchvision'));
    found.push(await packageFolder('python3', 'torchvision'));
    console.log(JSON.stringify(found));`,
};

for (const [who, script] of Object.entries(asked)) {
  withPython(`${who} does not find what lies in the current folder, nor runs it`, async (t) => {
    const everything = hostileFolder(t);
    // Of what PYTHONPATH names, Python itself runs some at every start.
    const packages = hostileFolder(t, []);
    for (const [{ folder, marks }, env] of [
      [everything, {}],
      [packages, {}],
      [packages, { PYTHONPATH: '.' }],
      [packages, { PYTHONPATH: `:${packages.folder}` }],
    ] as const) {
      const found = inFolder(folder, script('torch'), env) as string[];
      t.true(found.length > 0);
      for (const place of found) t.false(place.startsWith(folder) || place.startsWith('.'), place);
      t.deepEqual(marks(), []);
    }
  });

  withPython(`${who} finds what PYTHONPATH names`, async (t) => {
    const { folder } = hostileFolder(t, []);
    const empty = temporaryFolder(t);
    const found = inFolder(empty, script('torch'), { PYTHONPATH: folder }) as string[];
    t.true(
      found.some((place) => place.startsWith(folder)),
      JSON.stringify(found),
    );
  });
}

withPython('pip is the Python’s own', async (t) => {
  const { folder, marks } = hostileFolder(t);
  const target = join(temporaryFolder(t), 'target');
  mkdirSync(target);
  const script = `
    const { installWheel } = await import(${JSON.stringify(rootUrl('scripts/libtorch/pip.mjs'))});
    const { signal } = new AbortController();
    const env = { ...process.env, PIP_NO_INDEX: '1' };
    const failure = await installWheel('python3', ${JSON.stringify(target)}, ['--no-deps', 'torch==0.0.0'], { env, signal }).catch((error) => error);
    console.log(JSON.stringify(String(failure?.message)));`;
  t.regex(inFolder(folder, script) as string, /pip install --no-deps torch==0\.0\.0" failed/);
  t.deepEqual(marks(), []);
  t.true(existsSync(target));
});
