import test from 'ava';
import fc from 'fast-check';
import { complaint, fuzzedServer, refused, runs } from '../helpers/fuzzed-server.js';
import { photo } from '../helpers/server.js';

// Whatever comes over the network: the answer is a 4xx or 5xx with a JSON error, nothing of the server's inside is told,
// and the server goes on.
const server = fuzzedServer();

const paths = ['/v1/models/tiny:predict', '/v1/models/tiny:explain', '/v2/models/tiny/infer'] as const;

test.serial('JSON of every kind as a body', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), fc.jsonValue({ maxDepth: 6 }), async (path, body) => {
      const problem = await complaint(await server().post(path, body));
      if (problem !== null) throw new Error(problem);
    }),
    runs,
  );
  t.pass();
});

test.serial('requests that are nearly right', async (t) => {
  const odd = fc.oneof(
    fc.constantFrom(
      null,
      true,
      -1,
      0.5,
      2 ** 31,
      2 ** 53,
      '',
      'x',
      [],
      {},
      [[]],
      [[1], [1, 2]],
      ['1'],
      '__proto__',
    ),
    fc.jsonValue({ maxDepth: 3 }),
  );
  const right = {
    '/v1/models/tiny:explain': {
      instances: [{ b64: photo.toString('base64') }],
      class: 1,
      layer: 'features',
      method: 'gradcam',
      heatmap: 'none',
      deadline_ms: 1000,
      aug_smooth: false,
      upsample: true,
      reshape: 'none',
    },
    '/v2/models/tiny/infer': {
      id: 'a',
      parameters: { method: 'gradcam', class: 1, layer: 'features', binary_data_output: false },
      inputs: [{ name: 'x', shape: [1, 3, 2, 2], datatype: 'FP32', data: Array(12).fill(0) }],
      outputs: [{ name: 'heatmap' }],
    },
  } as const;
  const changed = fc
    .constantFrom(...(Object.keys(right) as (keyof typeof right)[]))
    .chain((path) => fc.tuple(fc.constant(path), fc.constantFrom(...Object.keys(right[path])), odd));
  await fc.assert(
    fc.asyncProperty(changed, async ([path, key, value]) => {
      const answer = await server().post(path, { ...right[path], [key]: value });
      // Some changes leave it right.
      if (answer.status === 200) return void (await answer.arrayBuffer());
      const problem = await complaint(answer);
      if (problem !== null) throw new Error(`${path} ${key}: ${problem}`);
    }),
    runs,
  );
  t.pass();
});

test.serial('bytes behind the JSON that do not fit it', async (t) => {
  const input = fc.record({
    name: fc.string({ maxLength: 8 }),
    shape: fc.array(fc.constantFrom(0, 1, 2, 3, 16, -1, 2 ** 31, 2 ** 53, 0.5), { maxLength: 9 }),
    datatype: fc.constantFrom('FP32', 'FP64', 'INT64', 'BOOL', 'BYTES', 'FP16', 'toString', '__proto__'),
    size: fc.oneof(fc.integer({ min: -8, max: 4096 }), fc.constantFrom(2 ** 31, 0.5, '12', null)),
  });
  await fc.assert(
    fc.asyncProperty(
      input,
      fc.uint8Array({ maxLength: 4096 }),
      fc.oneof(
        fc.constant(null),
        fc.integer({ min: -5, max: 9999 }),
        fc.constantFrom('x', '1e3', '0x10', ''),
      ),
      async ({ size, ...rest }, bytes, length) => {
        const inputs = [{ ...rest, parameters: { binary_data_size: size } }];
        const head = Buffer.from(JSON.stringify({ inputs }));
        const answer = await server().post('/v2/models/tiny/infer', Buffer.concat([head, bytes]), {
          'content-type': 'application/octet-stream',
          'inference-header-content-length': String(length ?? head.length),
        });
        const problem = await complaint(answer);
        if (problem !== null) throw new Error(problem);
      },
    ),
    runs,
  );
  t.pass();
});

test.serial('queries and paths of every kind', async (t) => {
  const names = fc.constantFrom(
    'class',
    'layer',
    'method',
    'top',
    'format',
    'quality',
    'deadline_ms',
    'style',
    'x',
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(names, fc.string({ unit: 'binary', maxLength: 300 })), {
        minLength: 1,
        maxLength: 4,
      }),
      fc.oneof(fc.constant('tiny'), fc.string({ unit: 'binary', minLength: 1, maxLength: 120 })),
      async (pairs, model) => {
        const query = new URLSearchParams(pairs);
        const path = `/explain/${encodeURIComponent(model)}?${query}`;
        const answer = await server().post(path, Buffer.from('no picture'));
        const problem = await complaint(answer);
        if (problem !== null) throw new Error(`${path}: ${problem}`);
      },
    ),
    runs,
  );
  for (const path of [
    '/explain/%zz',
    '/%',
    '//',
    '/v1/models/%00',
    `/${'a'.repeat(9000)}`,
    '/v2/models/tiny/versions/9',
  ])
    await refused(t, await server().get(path));
});

test.serial('content types that are wrong', async (t) => {
  for (const type of [
    'text/xml',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=b',
    'a/b/c',
    '*/*',
  ])
    for (const path of paths)
      await refused(
        t,
        await server().post(path, Buffer.from('{"instances":[[1]]}'), { 'content-type': type }),
      );
  for (const encoding of ['gzip', 'br', 'nonsense'])
    await refused(
      t,
      await server().post(paths[2], Buffer.from([31, 139, 8, 0]), {
        'content-type': 'application/json',
        'content-encoding': encoding,
      }),
    );
  await refused(t, await server().get('/explain/tiny', { method: 'DELETE' }));
});
