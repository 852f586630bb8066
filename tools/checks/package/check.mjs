// npm run check:package: what a user gets from the registry, before anyone does. See the help.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { commandOf } from '../command.mjs';
import { auditDependencies } from './audit.mjs';
import { checkContent } from './content.mjs';
import { readmeExample } from './readme-example.mjs';

const { fromSource, keep } = commandOf(
  'check:package',
  `Packs the package as npm publishes it, and checks it as a user meets it: publint, "are the types wrong", its content and \
size, an install of the tarball into an empty project outside of the repository, README's example from there (typed, as an \
ES module, with require), npx gradcam doctor, npm audit.`,
)
  .option(
    '--from-source',
    "compile the addon in that project (minutes); else that of build/ is put there, if the tarball's sources are what it was made of",
  )
  .option('--keep', 'keep the project, and print where it is')
  .parse()
  .opts();

const root = fileURLToPath(new URL('../../..', import.meta.url));
const project = mkdtempSync(join(tmpdir(), 'gradcam-package-'));
const installed = join(project, 'node_modules', 'node-gradcam');

/** Runs a program; shows what it printed only where it fails. */
function run(program, args, { cwd = project, env = {}, quiet = true } = {}) {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd,
    env: { ...process.env, FORCE_COLOR: '0', NO_COLOR: '1', ...env },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (error || status !== 0)
    throw new Error(
      `${program} ${args.join(' ')} failed: ${error?.message ?? `exit code ${status}`}\n${stdout}${stderr}`,
    );
  if (!quiet) process.stdout.write(stdout);
  return { stdout, stderr };
}

function step(name, work) {
  const started = Date.now();
  const said = work();
  console.log(`ok  ${name}${said ? `: ${said}` : ''} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
}

const inRepository = (name) => join(root, 'node_modules', '.bin', name);

/** npm's own lines about its version are no part of its answer. */
function packed() {
  const { stdout } = run('npm', ['pack', '--json', '--pack-destination', project], { cwd: root });
  return JSON.parse(stdout.slice(stdout.indexOf('[\n')))[0];
}

/** With what a user who writes TypeScript has, in the versions that the repository pins. */
function install(tarball) {
  const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const wanted = [
    tarball,
    ...['typescript', '@types/node'].map((name) => `${name}@${devDependencies[name]}`),
  ];
  writeFileSync(join(project, 'package.json'), '{ "name": "a-user", "private": true }\n');
  const flags = ['--no-audit', '--no-fund', '--prefer-offline', '--foreground-scripts'];
  if (fromSource) {
    const { stdout, stderr } = run('npm', ['install', ...flags, ...wanted]);
    const said = /built in \d+ s/.exec(stdout + stderr)?.[0];
    if (!said) throw new Error(`the install script built nothing:\n${stdout}${stderr}`);
    return said;
  }
  run('npm', ['install', ...flags, ...wanted], { env: { GRADCAM_SKIP_BUILD: '1' } });
  for (const name of ['stamp', 'libtorch.json', 'cmake/gradcam.node', 'cmake/placeholders'])
    cpSync(join(root, 'build', name), join(installed, 'build', name), { recursive: true });
  // The install script compares the tarball's sources with what the addon was made of.
  const { stdout, stderr } = run('npm', ['rebuild', 'node-gradcam', '--foreground-scripts'], {
    env: { GRADCAM_OFFLINE: '1' },
  });
  const said = /addon is up to date/.exec(stdout + stderr)?.[0];
  if (!said)
    throw new Error(`build/ was made of other sources than the tarball's; npm run build\n${stdout}${stderr}`);
  return 'the sources are those of build/';
}

/** The package's modules: `node-gradcam`, `node-gradcam/server`, ... */
function entries() {
  const { exports } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  return Object.keys(exports)
    .filter((key) => !key.endsWith('.json'))
    .map((key) => ({
      name: key.replace('.', 'all').replace('/', '_'),
      path: key.replace('.', 'node-gradcam'),
    }));
}

/** Each of them, loaded in both ways. */
function loadEntries() {
  const paths = entries().map(({ path }) => path);
  const script = paths.map((path) => `import '${path}'; require('${path}');`).join('');
  const prelude =
    "import { createRequire } from 'node:module'; const require = createRequire(process.cwd() + '/');";
  run(process.execPath, ['--input-type=module', '--eval', prelude + script]);
  return paths.join(', ');
}

/** README's example where a user runs it, with the demo's model and photo under the names that it uses. */
function example(kind) {
  const { program, typed, model, photo } = readmeExample(root);
  cpSync(model, join(project, 'resnet50.pt'));
  cpSync(photo, join(project, 'cat.jpg'));
  rmSync(join(project, 'heat.png'), { force: true });
  if (kind === 'types') {
    writeFileSync(join(project, 'example.mts'), typed);
    writeFileSync(
      join(project, 'entries.mts'),
      entries()
        .map((entry) => `export * as ${entry.name} from '${entry.path}';\n`)
        .join(''),
    );
    const flags = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022'];
    const libraries = ['--lib', 'es2023,dom,esnext.disposable', '--types', 'node'];
    run('npx', ['--no-install', 'tsc', ...flags, ...libraries, 'example.mts', 'entries.mts']);
    return `no error of TypeScript, in the types of ${entries().length} entry points neither`;
  }
  const file = kind === 'require' ? 'example.cjs' : 'example.mjs';
  writeFileSync(join(project, file), program(kind));
  const { stdout } = run(process.execPath, [file]);
  const [, classIndex] = /classIndex: (\d+)/.exec(stdout) ?? [];
  if (!(Number(classIndex) >= 281 && Number(classIndex) <= 285)) throw new Error(`it saw no cat:\n${stdout}`);
  const bytes = statSync(join(project, 'heat.png')).size;
  if (bytes < 10_000) throw new Error(`heat.png has ${bytes} bytes`);
  return `class ${classIndex}, heat.png of ${(bytes / 1000).toFixed(0)} kB`;
}

function doctor() {
  const { stdout } = run('npx', ['--no-install', 'gradcam', 'doctor', '--json']);
  const { addonPath, libtorch } = JSON.parse(stdout);
  if (!addonPath.includes(project)) throw new Error(`it is the doctor of another installation: ${addonPath}`);
  return `LibTorch ${libtorch.version} through ${libtorch.source}`;
}

try {
  let pack;
  step('publint --strict', () => {
    run(inRepository('publint'), ['--strict'], { cwd: root });
  });
  step('are the types wrong', () => {
    run(inRepository('attw'), ['--pack', '.', '--profile', 'esm-only'], { cwd: root });
    return 'as ES modules; require() works on Node 20.19 and newer, see below';
  });
  step('npm pack', () => {
    pack = packed();
    return checkContent(pack, root);
  });
  step('install into an empty project', () => install(join(project, pack.filename)));
  step('import and require of every entry point', loadEntries);
  step("README's example, typed", () => example('types'));
  step("README's example, import", () => example('import'));
  step("README's example, require", () => example('require'));
  step('npx gradcam doctor', doctor);
  step('npm audit', () => auditDependencies(root));
} catch (error) {
  console.error(`not ok  ${error.message}`);
  process.exitCode = 1;
} finally {
  if (keep) console.log(`kept: ${project}`);
  else rmSync(project, { recursive: true, force: true });
}
