import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { createServer } from 'node-gradcam/server';
import { parse } from 'npyjs';
import sharp from 'sharp';
import { asStored, describeIn } from '../helpers/dense-server.js';
import { liteModel } from '../helpers/fixtures.js';
import { fixturePath, rootPath } from '../helpers/root.js';
import { photoPath, type RunningServer, startServer } from '../helpers/server.js';
import { testWith } from '../helpers/test-with.js';

// docs/server.md: its commands are run, its configuration is taken, its tables are complete.

const guide = readFileSync(rootPath('docs/server.md'), 'utf8');
const blocks = (language: string) =>
  [...guide.matchAll(/^```(\w+)\n(.*?)^```$/gms)].flatMap(([, kind, text]) =>
    kind === language && text ? [text] : [],
  );
const withCurl = testWith('curl');

let running: RunningServer;
let controlled: RunningServer;
const token = 'correct horse';
const folder = mkdtempSync(join(tmpdir(), 'gradcam-docs-'));
test.before(async () => {
  const dense = await describeIn(folder, {
    segmenter: {
      file: 'detection/deeplabv3.pt',
      sidecar: {
        task: 'segmentation',
        output: 'out',
        labels: ['background', 'car', 'bus', 'cat'],
        input: { width: 64, height: 48, ...asStored },
      },
    },
    detector: {
      file: 'box-targets/finds.pt',
      sidecar: { task: 'detection', layer: 'conv', input: { width: 24, height: 24, ...asStored } },
    },
  });
  running = await startServer({
    models: { lite: liteModel, clip: fixturePath('clip/resnet.pt'), ...dense },
    maxBatch: 2,
  });
  controlled = await startServer({ maxBatch: 1, modelControl: true, tokens: [token] });
  copyFileSync(photoPath, join(folder, 'cat.png'));
  copyFileSync(photoPath, join(folder, 'street.jpg'));
});
test.after.always(async () => {
  await Promise.all([running.server.close(), controlled.server.close()]);
});

const commands = blocks('sh').filter((block) => block.includes('curl '));
for (const [index, block] of commands.entries()) {
  withCurl(`the commands with curl, ${index + 1} of ${commands.length}`, async (t) => {
    const address = new URL((block.includes('$GRADCAM_TOKEN') ? controlled : running).url).host;
    const script = `set -eo pipefail; curl() { command curl -sS --fail-with-body "$@"; }\n${block.replaceAll('localhost:8080', address)}`;
    const { stderr } = await promisify(execFile)('bash', ['-c', script], {
      cwd: folder,
      env: { ...process.env, GRADCAM_TOKEN: token },
      maxBuffer: 2 ** 26,
    });
    t.is(stderr, '');
  });
}

withCurl('and what they wrote', async (t) => {
  const sizeOf = async (name: string) => {
    const { format, width, height } = await sharp(join(folder, name)).metadata();
    return [format, width, height];
  };
  t.deepEqual(await sizeOf('heat.png'), ['png', 224, 224]);
  t.deepEqual(await sizeOf('heat.webp'), ['webp', 451, 300]);
  t.deepEqual((await sizeOf('two.png')).slice(0, 2), ['png', 2 * 224 + 3 * 8]);
  const npy = readFileSync(join(folder, 'map.npy'));
  t.deepEqual(
    [...parse(npy.buffer.slice(npy.byteOffset, npy.byteOffset + npy.length) as ArrayBuffer).shape],
    [1, 224, 224],
  );
});

test('its configuration is one, and its table has every option', async (t) => {
  const [text = ''] = blocks('json');
  const { host, port, ...options } = JSON.parse(text) as Record<string, unknown>;
  t.deepEqual([host, port], ['127.0.0.1', 8080]);
  await createServer(options).close();
  const rows = [...guide.matchAll(/^\| (`\w+`(?:, `\w+`)*) \| .*\| .*\|$/gm)].map(([, keys]) => keys ?? '');
  const keys = rows.flatMap((each) => [...each.matchAll(/`(\w+)`/g)].map(([, key]) => key ?? ''));
  // A key that the server does not know is refused, so that the table has none of those either.
  const own = new Set(['host', 'port', 'models']);
  for (const key of keys.filter((each) => !own.has(each))) {
    const error = t.throws(() => createServer({ models: {}, [key]: Symbol.iterator } as never), {
      code: 'ERR_SERVER_CONFIG',
    });
    t.notRegex(error?.message ?? '', /Unrecognized key/, key);
  }
  t.is(new Set(keys).size, 29);
});

test('its metrics are there', async (t) => {
  await running.post('/explain/lite', readFileSync(photoPath));
  const text = await (await running.get('/metrics')).text();
  const table = guide.slice(guide.indexOf('**Metrics**'), guide.indexOf('## More than one machine'));
  const names = [...table.matchAll(/`([a-z_{},]+)`/g)]
    .map(([, name]) => name ?? '')
    .filter((name) => /^(request|nv|gradcam|http|grpc)_/.test(name));
  t.true(names.length >= 13);
  for (const name of names.flatMap((each) => {
    const [, head, choices, tail] = /^(.*)\{(.*)\}(.*)$/.exec(each) ?? [];
    return choices ? choices.split(',').map((choice) => `${head}${choice}${tail}`) : [each];
  }))
    t.regex(text, new RegExp(`^# TYPE ${name} `, 'm'), name);
});
