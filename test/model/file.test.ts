import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { GradCamError, loadModel, TorchScriptTarget } from 'node-gradcam';
import { packageWith, temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath, root } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';

// What is checked before LibTorch sees a file, and before the addon uses a LibTorch.

const path = fixturePath('scripted.pt');
const content = readFileSync(path);
const sha256 = createHash('sha256').update(content).digest('hex');

/** For the environment: the process that tries a file first, and that one alone, runs this code before all else. */
function preloaded(t: ExecutionContext, code: string): NodeJS.ProcessEnv {
  const file = join(temporaryFolder(t), 'preloaded.cjs');
  writeFileSync(file, `const fs = require('fs'); if (/preflight\\.js$/.test(process.argv[1])) { ${code} }`);
  return { NODE_OPTIONS: `--require ${JSON.stringify(file)}` };
}

test('a file with the pinned SHA-256 is loaded, in any case of letters', async (t) => {
  await using model = await loadModel(path, { sha256: sha256.toUpperCase() });
  t.true(model.parameterCount > 0);
});

test('EXPECTED FAILURE - another SHA-256', async (t) => {
  const pinned = sha256.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
  const error = await t.throwsAsync(loadModel(path, { sha256: pinned }), {
    instanceOf: GradCamError,
    code: 'ERR_MODEL_CHECKSUM',
    message: new RegExp(`SHA-256 is ${sha256}, and ${pinned} was asked for`),
  });
  t.is((error as GradCamError).details.path, path);
});

test('EXPECTED FAILURE - a file that is replaced while it is loaded', async (t) => {
  const file = join(temporaryFolder(t), 'model.pt');
  writeFileSync(file, content);
  const name = JSON.stringify(file);
  const { code, stderr } = await runScript(
    `
    import { loadModel } from 'node-gradcam';
    const error = await loadModel(${name}, { sha256: '${sha256}', preflight: true }).catch((error) => error);
    if (error.code !== 'ERR_MODEL_CHECKSUM' || !/changed or replaced/.test(error.message)) throw error;`,
    preloaded(t, `fs.writeFileSync(${name}, fs.readFileSync(${name}));`),
  );
  t.is(code, 0, stderr);
});

test('BAD CALL - sha256 and preflight', async (t) => {
  await t.throwsAsync(loadModel(path, { sha256: 'abc' }), { code: 'ERR_OUT_OF_RANGE' });
  await t.throwsAsync(loadModel(path, { sha256: 5 as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.throwsAsync(loadModel(path, { preflight: 'yes' as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.throwsAsync(loadModel('none.pt', { sha256 }), { code: 'ERR_MODEL_NOT_FOUND' });
  await t.throwsAsync(loadModel(root, { sha256 }), { code: 'ERR_MODEL_LOAD' });
});

test('preflight loads what can be loaded, and gives the same errors', async (t) => {
  await using model = await loadModel(path, { preflight: true });
  t.true(model.parameterCount > 0);
  await t.throwsAsync(loadModel(fixturePath('bad/truncated.pt'), { preflight: true }), {
    code: 'ERR_MODEL_LOAD',
    message: /cut off or damaged/,
  });
  await t.throwsAsync(loadModel('none.pt', { preflight: true }), { code: 'ERR_MODEL_NOT_FOUND' });
});

test('the process that tries the file first loads it as it is meant to be loaded', async (t) => {
  const told = join(temporaryFolder(t), 'told.json');
  const { code, stderr } = await runScript(
    `
    import { loadModel } from 'node-gradcam';
    const path = 'test/fixtures/scripted.pt';
    const model = await loadModel(path, { preflight: true, dtype: 'float64', device: 'auto' });
    if (model.dtype !== 'float64') throw new Error(model.dtype);`,
    preloaded(t, `fs.writeFileSync(${JSON.stringify(told)}, JSON.stringify(process.argv.slice(2)));`),
  );
  t.is(code, 0, stderr);
  const [asked, options] = JSON.parse(readFileSync(told, 'utf8')) as [string, string];
  t.is(asked, 'test/fixtures/scripted.pt');
  t.deepEqual(JSON.parse(options), {
    device: 'auto',
    dtype: 'float64',
    libraries: [],
    precision: 'float32',
    tf32: false,
    cudnnBenchmark: false,
  });
});

const ends: readonly { name: string; options: string; expected: string }[] = [
  {
    name: 'by the time limit of preflight',
    options: '{ preflight: { timeout: 200 } }',
    expected: `error.code === 'ERR_MODEL_LOAD' && /did not come to its end within 0.2 s/.test(error.message)`,
  },
  {
    name: 'with its signal',
    options: '{ preflight: true, signal: controller.signal }',
    expected: 'error === reason',
  },
];
for (const { name, options, expected } of ends)
  test(`a loader that hangs ends ${name}, and leaves no process`, async (t) => {
    const hung = join(temporaryFolder(t), 'hung');
    const { code, stderr } = await runScript(
      `
      import { subscribe } from 'node:diagnostics_channel';
      import { existsSync } from 'node:fs';
      import { loadModel } from 'node-gradcam';
      import { until } from './dist/test/helpers/until.js';
      const started = [];
      subscribe('child_process', ({ process }) => started.push(process));
      const controller = new AbortController();
      const reason = new Error('no longer needed');
      const pending = loadModel('test/fixtures/scripted.pt', ${options}).catch((error) => error);
      if (${options.includes('signal')}) {
        await until('the loader to hang', () => existsSync(${JSON.stringify(hung)}));
        controller.abort(reason);
      }
      const error = await pending;
      if (!(${expected})) throw error;
      const [child] = started;
      await until('the process to end', () => child.signalCode);`,
      preloaded(t, `fs.writeFileSync(${JSON.stringify(hung)}, ''); for (;;);`),
    );
    t.is(code, 0, stderr);
  });

test('BAD CALL - the time limit of preflight', async (t) => {
  for (const timeout of ['1', null, {}])
    await t.throwsAsync(loadModel(path, { preflight: { timeout: timeout as never } }), {
      code: 'ERR_INVALID_ARG_TYPE',
      message: /preflight\.timeout/,
    });
  for (const timeout of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])
    await t.throwsAsync(loadModel(path, { preflight: { timeout } }), { code: 'ERR_OUT_OF_RANGE' });
  await t.throwsAsync(loadModel(path, { preflight: { timeOut: 5 } as never }), {
    code: 'ERR_UNKNOWN_OPTION',
    message: /'timeOut' in preflight/,
  });
  await t.throwsAsync(loadModel(path, { preflight: [] as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  await (await loadModel(path, { preflight: {} })).dispose();
});

test('a crash in the process that tries the file first is an error', async (t) => {
  const { code, stderr } = await runScript(
    `
    import { loadModel } from 'node-gradcam';
    const error = await loadModel('test/fixtures/scripted.pt', { preflight: true }).catch((error) => error);
    if (error.code !== 'ERR_MODEL_LOAD' || !/crashed on it \\(SIGSEGV\\)/.test(error.message)) throw error;`,
    preloaded(t, "process.kill(process.pid, 'SIGSEGV');"),
  );
  t.is(code, 0, stderr);
});

/** The file with one entry of its archive cut to half, and a directory that says so. */
function withShortRecord(file: Buffer, name: string): Buffer {
  const changed = Buffer.from(file);
  let position = changed.readUInt32LE(changed.lastIndexOf('PK\x05\x06', undefined, 'latin1') + 16);
  while (changed.readUInt32LE(position) === 0x02014b50) {
    const nameLength = changed.readUInt16LE(position + 28);
    if (changed.toString('utf8', position + 46, position + 46 + nameLength).endsWith(name)) {
      const half = changed.readUInt32LE(position + 24) / 2;
      for (const field of [20, 24]) changed.writeUInt32LE(half, position + field);
      return changed;
    }
    position += 46 + nameLength + changed.readUInt16LE(position + 30) + changed.readUInt16LE(position + 32);
  }
  throw new Error(`there is no ${name}`);
}

test('EXPECTED FAILURE - weights shorter than the archive says', async (t) => {
  const file = join(temporaryFolder(t), 'model.pt');
  writeFileSync(file, withShortRecord(content, '/data/0'));
  const expectation = {
    code: 'ERR_MODEL_LOAD',
    message: /record 'data\/0' holds 432 bytes, and 216 elements of 4/,
  };
  await t.throwsAsync(loadModel(file), expectation);
  await t.throwsAsync(TorchScriptTarget.load(file), expectation);
});

test('EXPECTED FAILURE - a pickle that would take gigabytes', async (t) => {
  // In place of the length of a text, the number of a value (LONG_BINPUT): LibTorch makes room for as many.
  const changed = Buffer.from(content);
  const text = changed.indexOf('X\x07\0\0\0storage', 'latin1');
  changed.write('r', text);
  changed.writeUInt32LE(1_500_000_000, text + 1);
  const file = join(temporaryFolder(t), 'model.pt');
  writeFileSync(file, changed);
  await t.throwsAsync(loadModel(file), {
    code: 'ERR_MODEL_LOAD',
    message: /a pickle of \d+ bytes numbers a value 1500000000/,
  });
});

const expectAddonError = async (t: ExecutionContext, index: string, message: RegExp, environment = {}) => {
  const script = `
    const { loadModel } = await import(${JSON.stringify(index)});
    const error = await loadModel('test/fixtures/scripted.pt').catch((error) => error);
    process.stderr.write(error.code + ' ' + error.message);`;
  const { code, signal, stderr } = await runScript(script, environment);
  t.is(signal, null, stderr);
  t.is(code, 0, stderr);
  t.true(stderr.includes('ERR_ADDON_LOAD'), stderr);
  t.regex(stderr, message);
};

test('EXPECTED FAILURE - no addon, and an addon that is none', async (t) => {
  await expectAddonError(t, packageWith(t, null), /is missing.*npm rebuild node-gradcam/s);
  await expectAddonError(t, packageWith(t, Buffer.from('no library')), /could not be loaded.*npm rebuild/s);
});

test('EXPECTED FAILURE - another LibTorch than the one compiled against', async (t) => {
  // LibTorch tells its version by caffe2::GetBuildOptions(); this one tells another.
  const folder = temporaryFolder(t);
  writeFileSync(
    join(folder, 'other.cc'),
    `#include <map>
#include <string>
namespace caffe2 {
const std::map<std::string, std::string>& GetBuildOptions() {
  static const std::map<std::string, std::string> options{{"TORCH_VERSION", "1.2.3"}};
  return options;
}
}
`,
  );
  execFileSync('c++', ['-shared', '-fPIC', '-o', join(folder, 'other.so'), join(folder, 'other.cc')]);
  const addon = packageWith(t, join(root, 'build/cmake/gradcam.node'));
  await expectAddonError(
    t,
    addon,
    /compiled against LibTorch 2\.\d+\.\d+, but LibTorch 1\.2\.3 was loaded.*npm rebuild/s,
    {
      LD_PRELOAD: join(folder, 'other.so'),
    },
  );
});
