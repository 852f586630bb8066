import { request } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import test from 'ava';
import Fastify from 'fastify';
import { createServer, explainServer } from 'node-gradcam/server';
import { noise } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { binaryInference, photo, type RunningServer, readInference, startServer } from '../helpers/server.js';
import { formOf, untilPending } from '../helpers/server-requests.js';

// What is HTTP and no protocol of models: methods, paths, encodings, and that every failure has a code of ours.

const maxBodyBytes = 2_000_000;
let running: RunningServer;
test.before(async () => {
  running = await startServer({ models: { tiny: fixturePath('scripted.pt') }, maxBodyBytes, maxBatch: 1 });
});
test.afterEach.always('the server has let go of every request', () => untilPending(running, 0));
test.after.always(() => running.server.close());

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | undefined>;
  readonly body: Buffer;
}

/** What a client of HTTP gets that decodes nothing; with `end: false` it never says that its body is whole. */
async function raw(
  path: string,
  { method = 'POST', headers = {}, body = null as Buffer | null, end = true } = {},
): Promise<Answer> {
  const sent = request(running.url + path, { method, headers, agent: false });
  const answer = new Promise<Answer>((resolve, reject) => {
    sent.once('error', reject).once('response', (response) => {
      buffer(response).then(
        (bytes) =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers as Record<string, string | undefined>,
            body: bytes,
          }),
        reject,
      );
    });
  });
  if (body) sent.write(body);
  if (end) sent.end();
  else sent.flushHeaders();
  try {
    return await answer;
  } finally {
    sent.destroy();
  }
}

const codeOf = ({ body }: Answer) => (JSON.parse(String(body)) as { code: string }).code;
const coders = {
  gzip: [promisify(zlib.gzip), promisify(zlib.gunzip)],
  deflate: [promisify(zlib.deflate), promisify(zlib.inflate)],
  br: [promisify(zlib.brotliCompress), promisify(zlib.brotliDecompress)],
} as const;
const asked = {
  inputs: [{ name: 'x', shape: [1, 3, 16, 16], datatype: 'FP32' }],
  parameters: { class: 1, binary_data_output: true },
};
const infer = '/v2/models/tiny/infer';
const json = { 'content-type': 'application/json' };

for (const [encoding, [compress, decompress]] of Object.entries(coders)) {
  test.serial(
    `${encoding}: a compressed request, and a compressed answer, are the same as plain ones`,
    async (t) => {
      const { body, headers } = binaryInference(asked, noise(3 * 16 * 16));
      const plain = await raw(infer, { headers, body });
      t.is(plain.status, 200, String(plain.body));
      t.is(plain.headers['content-encoding'], undefined);
      const compressed = await raw(infer, {
        headers: { ...headers, 'content-encoding': encoding, 'accept-encoding': encoding },
        body: await compress(body),
      });
      t.is(compressed.status, 200, String(compressed.body));
      t.is(compressed.headers['content-encoding'], encoding);
      t.is(compressed.headers.vary, 'accept-encoding');
      // The length of the JSON is about what the answer becomes.
      const read = async ({ headers: told }: Answer, bytes: Buffer) =>
        (
          await readInference(
            new Response(new Uint8Array(bytes), { headers: told as Record<string, string> }),
          )
        ).outputs;
      t.deepEqual(await read(compressed, await decompress(compressed.body)), await read(plain, plain.body));

      const instances = JSON.stringify({ instances: [{ b64: photo.toString('base64') }] });
      const predict = (sent: Buffer, more = {}) =>
        raw('/v1/models/tiny:predict', { headers: { ...json, ...more }, body: sent });
      const wanted = await predict(Buffer.from(instances));
      t.is(wanted.status, 200);
      const given = await predict(await compress(instances), { 'content-encoding': encoding });
      t.is(String(given.body), String(wanted.body));
      t.is(
        (
          await raw('/explain/tiny', {
            headers: { 'content-encoding': encoding },
            body: await compress(photo),
          })
        ).status,
        200,
      );
    },
  );
}

test.serial('answers that are small or pictures are sent as they are', async (t) => {
  const headers = { 'accept-encoding': 'gzip, deflate, br' };
  const small = await raw('/v2', { method: 'GET', headers });
  t.is(small.headers['content-encoding'], undefined);
  const picture = await raw('/explain/tiny?format=png', { headers, body: photo });
  t.is(picture.headers['content-type'], 'image/png');
  t.is(picture.headers['content-encoding'], undefined);
  for (const format of ['json', 'npy'])
    t.is(
      (await raw(`/explain/tiny?format=${format}`, { headers, body: photo })).headers['content-encoding'],
      'br',
      format,
    );
  t.is((await raw('/openapi.json', { method: 'GET', headers })).headers['content-encoding'], 'br');
  t.is((await raw('/openapi.json', { method: 'HEAD', headers })).status, 200);
});

test.serial('encodings that are not known or not true are refused', async (t) => {
  const body = Buffer.from('{}');
  const unknown = await raw(infer, { headers: { ...json, 'content-encoding': 'zip' }, body });
  t.is(unknown.status, 415);
  t.is(codeOf(unknown), 'ERR_INVALID_REQUEST');
  t.is(unknown.headers['accept-encoding'], 'br, gzip, deflate');
  const { body: form, headers } = await formOf(new Uint8Array(photo));
  const compressedForm = await raw('/explain/tiny', {
    headers: { ...headers, 'content-encoding': 'gzip' },
    body: zlib.gzipSync(form),
  });
  t.is(compressedForm.status, 415);
  t.is(compressedForm.headers['accept-encoding'], 'identity');
  for (const path of [infer, '/v1/models/tiny:predict', '/explain/tiny'])
    for (const damaged of [body, zlib.gzipSync('{"inputs": []}').subarray(0, -9)]) {
      const answer = await raw(path, { headers: { ...json, 'content-encoding': 'GZIP' }, body: damaged });
      t.is(answer.status, 400, path);
      t.is(codeOf(answer), 'ERR_INVALID_REQUEST');
    }
  t.is((await raw(infer, { headers: { ...json, 'content-encoding': 'identity' }, body })).status, 400);
});

/** A few bytes that become many: the client would go on, so whoever waits for the end of the body waits for ever. */
const bomb = zlib.gzipSync(Buffer.alloc(100 * maxBodyBytes));

for (const path of [infer, '/v1/models/tiny:predict', '/explain/tiny'])
  test.serial(`${path}: a body that becomes too large is refused before it is unpacked`, async (t) => {
    const before = process.memoryUsage.rss();
    const answer = await raw(path, {
      headers: { ...json, 'content-encoding': 'gzip' },
      body: bomb.subarray(0, bomb.length >> 1),
      end: false,
    });
    t.is(answer.status, 413, String(answer.body));
    t.is(codeOf(answer), 'ERR_INVALID_REQUEST');
    const grown = process.memoryUsage.rss() - before;
    t.true(grown < 30 * maxBodyBytes, `${grown} bytes more`);
  });

test.serial('bodies that are too large are refused, whether they say so or not', async (t) => {
  const body = Buffer.alloc(maxBodyBytes + 1, ' ');
  for (const path of [infer, '/v1/models/tiny:predict', '/explain/tiny'])
    for (const headers of [{ ...json, 'content-length': String(body.length) }, json]) {
      const answer = await raw(path, { headers, body });
      t.is(answer.status, 413, path);
      t.is(codeOf(answer), 'ERR_INVALID_REQUEST');
    }
});

test.serial('other methods at the addresses that there are get 405 with Allow', async (t) => {
  const reads = 'GET, HEAD';
  for (const [path, allow] of [
    ['/', reads],
    ['/metrics', reads],
    ['/openapi.json', reads],
    ['/explain', reads],
    ['/explain/tiny', 'GET, HEAD, POST'],
    ['/v1/models', reads],
    ['/v1/models/tiny', reads],
    ['/v1/models/tiny:predict', 'POST'],
    ['/v1/models/tiny:explain', 'POST'],
    ['/v2', reads],
    ['/v2/health/live', reads],
    ['/v2/models/tiny/ready', reads],
    [infer, 'POST'],
    ['/v2/models/tiny/versions/1/infer', 'POST'],
    ['/v2/repository/index', 'POST'],
    ['/v2/repository/models/tiny/load', 'POST'],
  ] as const)
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE']) {
      if (allow.split(', ').includes(method)) continue;
      const body = method === 'PUT' ? Buffer.from('{') : null;
      const answer = await raw(path, { method, body, headers: body ? json : {} });
      t.is(answer.status, 405, `${method} ${path}`);
      t.is(answer.headers.allow, allow, `${method} ${path}`);
      if (method !== 'HEAD') t.is(codeOf(answer), 'ERR_METHOD_NOT_ALLOWED');
    }
});

test.serial('where there is nothing, there is nothing for any method', async (t) => {
  for (const path of ['/nothing', '/v2/models', '/v2/models/tiny/nothing', '/index.html/x'])
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND']) {
      const answer = await raw(path, { method });
      t.is(answer.status, 404, `${method} ${path}`);
      if (method !== 'HEAD') t.regex(codeOf(answer), /^ERR_(NOT_FOUND|UNKNOWN_MODEL|INVALID_REQUEST)$/);
    }
});

test.serial('every failure has a code of ours', async (t) => {
  for (const [status, path, headers, body] of [
    [415, infer, { 'content-type': 'text/xml' }, '<a/>'],
    [415, infer, { 'content-type': 'a/b/c' }, '{}'],
    [415, '/v1/models/tiny:predict', { 'content-type': 'text/plain' }, '{}'],
    [400, infer, json, '{'],
    [400, '/v1/models/tiny:predict', json, '{'],
    [400, '/v1/models/tiny:predict', json, '{"__proto__": {}}'],
    [400, '/v1/models/tiny:predict', json, ''],
    [400, '/explain/%zz', {}, 'x'],
    [400, '/explain/tiny', { 'content-type': 'multipart/form-data' }, 'x'],
  ] as const) {
    const answer = await raw(path, { headers, body: Buffer.from(body) });
    t.is(answer.status, status, `${path} ${body}: ${answer.body}`);
    t.is(codeOf(answer), 'ERR_INVALID_REQUEST');
  }
  const long = await raw(`/explain/${'a'.repeat(2000)}`, { body: photo });
  t.true([400, 404, 414].includes(long.status), String(long.status));
  t.regex(codeOf(long), /^ERR_/);
});

test.serial('arguments whose names no parameter has are refused', async (t) => {
  const b64 = photo.toString('base64');
  for (const given of [{ 'a\0b': 1 }, { 'a\ud800': 1 }, { a: [{ 'b\0': null }] }])
    for (const verb of ['predict', 'explain']) {
      const body = Buffer.from(JSON.stringify({ instances: [{ b64 }], arguments: given }));
      const answer = await raw(`/v1/models/tiny:${verb}`, { headers: json, body });
      t.is(answer.status, 400, String(answer.body));
      t.regex(codeOf(answer), /^ERR_/);
    }
});

test.serial('under a prefix, and beside routes of your own, it is the same', async (t) => {
  const app = Fastify();
  app.post('/mine', async () => ({ mine: true }));
  await app.register(explainServer, { prefix: '/explainer', models: { tiny: fixturePath('scripted.pt') } });
  t.teardown(() => app.close());
  await app.ready();
  const statusOf = async (method: 'GET' | 'POST' | 'PUT', url: string) =>
    (await app.inject({ method, url })).statusCode;
  for (const path of ['', '/', '/v1/models', '/v2/health/live']) {
    t.is(await statusOf('GET', `/explainer${path}`), 200, path);
    const refused = await app.inject({ method: 'PUT', url: `/explainer${path}` });
    t.is(refused.statusCode, 405, path);
    t.is(refused.headers.allow, 'GET, HEAD', path);
  }
  t.is(await statusOf('POST', '/mine'), 200);
  t.is(await statusOf('GET', '/mine'), 404);
  t.is(await statusOf('PUT', '/v1/models'), 404);

  const own = createServer({ models: { tiny: fixturePath('scripted.pt') } });
  t.teardown(() => own.close());
  own.post('/v1/models', async () => ({ mine: true }));
  const answer = await own.inject({ method: 'POST', url: '/v1/models' });
  t.deepEqual(answer.json(), { mine: true });
  t.is((await own.inject({ method: 'PUT', url: '/v1/models' })).headers.allow, 'GET, HEAD, POST');
});
