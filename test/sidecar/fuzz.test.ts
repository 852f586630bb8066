import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import ava from 'ava';
import fc from 'fast-check';
import { GradCamError, imageOptions, loadImage, loadSidecar, type Sidecar } from 'node-gradcam';
import { fits, type JsonSchema, valuesOf } from '../helpers/json-schema.js';
import { rootPath } from '../helpers/root.js';

// Sidecars that nobody meant to write. Each is read rightly, or refused as ERR_SIDECAR with the reason.

// One at a time: they write the same file.
const test = ava.serial;

const docs = rootPath('docs/sidecar.schema.json');
const schema = JSON.parse(readFileSync(docs, 'utf8')) as JsonSchema;
const cases = Number(process.env.GRADCAM_SIDECARS ?? 1500);

const folder = mkdtempSync(join(tmpdir(), 'gradcam-sidecars-'));
ava.after.always(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'model.json');

/** The sidecar, or the message with which it is refused; fails with any other error. */
async function read(content: string | Uint8Array): Promise<Sidecar | string> {
  writeFileSync(file, content);
  try {
    return (await loadSidecar(join(folder, 'model.pt'))) as Sidecar;
  } catch (error) {
    if (!(error instanceof GradCamError) || error.code !== 'ERR_SIDECAR' || error.details.path !== file)
      throw error;
    if (error.message.length > 2000) throw new Error(`a message of ${error.message.length} characters`);
    return error.message;
  }
}

const oddValues = fc.oneof(
  fc.constantFrom(0, -1, 1.5, 2 ** 31, 2 ** 53, 1e308, '', [], {}, null, true, [[]], '__proto__'),
  fc.jsonValue(),
);
const oddKeys = fc.oneof(
  fc.constantFrom('__proto__', 'constructor', 'prototype', 'toString', '', 'input', 'labels', 'width'),
  fc.string(),
);

/** A copy with one of its values replaced, removed or added, anywhere in it. */
function changed(value: unknown, at: number, key: string, odd: unknown): unknown {
  const copy = structuredClone(value);
  const places: [holder: Record<string, unknown>, key: string][] = [];
  const collect = (holder: unknown): void => {
    if (typeof holder !== 'object' || holder === null) return;
    for (const each of Object.keys(holder)) {
      places.push([holder as Record<string, unknown>, each]);
      collect((holder as Record<string, unknown>)[each]);
    }
  };
  collect(copy);
  const [holder, place] = places[at % places.length] ?? [{}, ''];
  if (at % 3 === 0) delete holder[place];
  else if (at % 3 === 1) holder[place] = odd;
  else Object.defineProperty(holder, key, { value: odd, enumerable: true, configurable: true });
  return copy;
}

/** The input as a person would write it: no two keys contradict each other. */
function withoutContradictions(made: unknown): Record<string, unknown> {
  const input: Record<string, unknown> = { channels: 3, fit: 'crop', ...(made as object) };
  for (const key of ['mean', 'std']) {
    const [value] = (input[key] ?? []) as number[];
    if (value === undefined) delete input[key];
    else input[key] = Array(input.channels as number).fill(value);
  }
  const contradicting = {
    resize: input.fit === 'contain',
    paddingColor: input.fit !== 'contain',
    antialias: true,
    channelOrder: input.channels === 1,
  };
  return Object.fromEntries(Object.entries(input).filter(([key]) => !contradicting[key as 'resize']));
}

const anySidecars = valuesOf(schema) as fc.Arbitrary<Record<string, unknown>>;
const sidecars = fc.oneof(
  anySidecars,
  anySidecars.map((made) => ({
    ...made,
    input: withoutContradictions(made.input),
    labels: [made.labels ?? []].flat(),
  })),
);
// What no schema can say: rules between several keys, and labels that are a file's name.
const rules =
  /input\.(mean|std|resize|paddingColor|antialias|channelOrder|range|width): |labels: cannot read|labels: '/;

test('every sidecar that fits the schema is read as it is written, or breaks a rule that the message names', async (t) => {
  let accepted = 0;
  const property = fc.asyncProperty(sidecars, async (sidecar) => {
    const text = JSON.stringify(sidecar);
    if (!fits(schema, JSON.parse(text))) throw new Error('the test made a sidecar that does not fit');
    const result = await read(text);
    if (typeof result === 'string') {
      if (!rules.test(result)) throw new Error(result);
    } else {
      accepted++;
      const { $schema: _, ...written } = JSON.parse(text);
      if (!isDeepStrictEqual(result, written)) throw new Error(JSON.stringify(result));
    }
  });
  await t.notThrowsAsync(fc.assert(property, { numRuns: cases, seed: 20260802 }));
  t.true(accepted > cases / 10, `${accepted} of ${cases} were accepted`);
  t.log(`${accepted} of ${cases} were accepted`);
});

test('no sidecar that does not fit the schema is accepted', async (t) => {
  let refused = 0;
  const damaged = fc.tuple(sidecars, fc.nat(), oddKeys, oddValues).map((all) => changed(...all));
  const property = fc.asyncProperty(fc.oneof(damaged, fc.jsonValue()), async (value) => {
    const text = JSON.stringify(value);
    const result = await read(text);
    if (typeof result === 'string') refused++;
    else if (!fits(schema, JSON.parse(text))) throw new Error(`accepted: ${text}`);
  });
  await t.notThrowsAsync(fc.assert(property, { numRuns: cases, seed: 20260803 }));
  t.true(refused > cases / 2, `${refused} of ${cases} were refused`);
  t.log(`${refused} of ${cases} were refused`);
});

test('any bytes at all', async (t) => {
  const valid = Buffer.from('{"input":{"width":64,"height":32},"labels":["a","ä","☃"]}');
  const flipped = fc.tuple(fc.nat(valid.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, bits]) => {
    const copy = Buffer.from(valid);
    copy[at] = (copy[at] as number) ^ bits;
    return copy;
  });
  const cut = fc.nat(valid.length).map((length) => valid.subarray(0, length));
  const property = fc.asyncProperty(
    fc.oneof(flipped, cut, fc.uint8Array({ maxLength: 200 })),
    async (bytes) => {
      const result = await read(bytes);
      if (typeof result !== 'string' && !fits(schema, JSON.parse(Buffer.from(bytes).toString('utf8'))))
        throw new Error(`accepted: ${Buffer.from(bytes).toString('latin1')}`);
    },
  );
  await t.notThrowsAsync(fc.assert(property, { numRuns: cases, seed: 20260804 }));
});

const input = '"input":{"width":64,"height":32}';
const refusals: readonly [name: string, content: string | Buffer, reason: RegExp][] = [
  ['nothing', '', /it is not JSON/],
  ['a key __proto__', `{${input},"__proto__":{"dtype":"float64"}}`, /__proto__/],
  ['a key __proto__ inside', '{"input":{"width":1,"height":1,"__proto__":{"channels":1}}}', /__proto__/],
  ['a key constructor', `{${input},"constructor":1}`, /constructor/],
  ['an infinite number', '{"input":{"width":1e999,"height":1}}', /input\.width/],
  ['an infinite mean', '{"input":{"width":1,"height":1,"mean":[0,0,-1e999]}}', /input\.mean\.2/],
  ['a picture of 4 billion pixels', '{"input":{"width":65535,"height":65535}}', /input\.width/],
  ['deep nesting', `{${input},"layer":${'['.repeat(2e6)}${']'.repeat(2e6)}}`, /layer/],
  ['deep nesting that never ends', '['.repeat(5e6), /it is not JSON/],
  ['a key of a megabyte', `{${input},"${'x'.repeat(1e6)}":1}`, /xxx \.\.\.\.$/],
  ['100 000 unknown keys', `{${input},${Array.from({ length: 1e5 }, (_, i) => `"k${i}":1`)}}`, /k0/],
  ['invalid UTF-8', Buffer.from(`{${input},"name":"\xff"}`, 'latin1'), /it is not text in UTF-8/],
  ['UTF-16', Buffer.from(`\ufeff{${input}}`, 'utf16le'), /it is not text in UTF-8/],
  ['a null character', `{${input}}\0`, /it is not JSON/],
];

for (const [name, content, reason] of refusals) {
  test(`EXPECTED FAILURE - ${name}`, async (t) => {
    const result = await read(content);
    t.regex(typeof result === 'string' ? result : JSON.stringify(result), reason);
    t.is(Object.keys(Object.prototype).length, 0);
  });
}

test('a byte order mark is left out, and of a key that comes twice the last counts', async (t) => {
  t.deepEqual(await read(`\ufeff{${input}}`), { input: { width: 64, height: 32 } });
  t.deepEqual(await read(`{"input":1,${input},"name":"a","name":"b"}`), {
    input: { width: 64, height: 32 },
    name: 'b',
  });
  writeFileSync(join(folder, 'labels.txt'), '\ufeffcat\r\ndog\r\n');
  t.like(await read(`{${input},"labels":"labels.txt"}`), { labels: ['cat', 'dog'] });
  writeFileSync(join(folder, 'labels.json'), '\ufeff["cat", "dog"]');
  t.like(await read(`{${input},"labels":"labels.json"}`), { labels: ['cat', 'dog'] });
});

/** What this process has read, of files that exist and of those that never end; 0 where the system does not tell. */
const bytesRead = () =>
  process.platform === 'linux'
    ? Number(/^rchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1])
    : 0;

test('a file of 100 MB, a device, a pipe and a folder are refused at once', async (t) => {
  const before = bytesRead();
  writeFileSync(file, '');
  truncateSync(file, 100e6);
  const model = join(folder, 'model.pt');
  await t.throwsAsync(loadSidecar(model), {
    code: 'ERR_SIDECAR',
    message: /too large: 100 MB, and at most 16/,
  });
  for (const make of [
    () => symlinkSync('/dev/zero', file),
    () => execFileSync('mkfifo', [file]),
    () => symlinkSync(folder, file),
  ]) {
    rmSync(file);
    make();
    await t.throwsAsync(loadSidecar(model), { code: 'ERR_SIDECAR', message: /it is not a file/ });
  }
  rmSync(file);
  for (const labels of ['/dev/zero', '.', 'model.json/x', '\0', 'x'.repeat(5000)])
    t.regex(String(await read(`{${input},"labels":${JSON.stringify(labels)}}`)), /labels: cannot read/);
  t.true(bytesRead() - before < 1e6, 'nothing was read of them');
});

test('pictures are prepared as any accepted sidecar says, or refused with a code', async (t) => {
  const photo = rootPath('examples/photos/chelsea.png');
  const { input: inputSchema } = schema.properties as Record<string, JsonSchema>;
  const small = { type: 'integer', minimum: 1, maximum: 60 } as const;
  const sized = {
    ...inputSchema?.properties,
    width: small,
    height: small,
    resize: { ...small, maximum: 90 },
  };
  const inputs = valuesOf({ ...inputSchema, properties: sized });
  let prepared = 0;
  const property = fc.asyncProperty(fc.oneof(inputs, inputs.map(withoutContradictions)), async (made) => {
    const sidecar = await read(JSON.stringify({ input: made }));
    if (typeof sidecar === 'string') return;
    try {
      const image = await loadImage(photo, imageOptions(sidecar));
      const { width, height, channels = 3 } = sidecar.input;
      if (image.tensor.shape.join() !== [1, channels, height, width].join()) throw new Error('another shape');
      prepared++;
    } catch (error) {
      const { code = 'none', message } = error as { code?: string; message: string };
      if (!['ERR_IMAGE_LOAD', 'ERR_OUT_OF_RANGE'].includes(code)) throw new Error(`${code}: ${message}`);
    }
  });
  await t.notThrowsAsync(fc.assert(property, { numRuns: Math.ceil(cases / 5), seed: 20260805 }));
  t.true(prepared > cases / 50, `${prepared} were prepared`);
  t.log(`${prepared} were prepared`);
});
