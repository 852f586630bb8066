import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import test from 'ava';
import Fastify, { type FastifyInstance } from 'fastify';
import { drain, type ExplainServerOptions, explainServer } from 'node-gradcam/server';
import sharp from 'sharp';
import { noise } from '../helpers/fixtures.js';
import { rawRequest } from '../helpers/raw-request.js';
import { fixturePath } from '../helpers/root.js';
import { binaryInference } from '../helpers/server.js';
import { formOf, holdRequest, image, untilPending } from '../helpers/server-requests.js';

// explainServer in a server of somebody's own, whose options are Fastify's defaults.

const models = { lite: fixturePath('scripted.pt') };

async function host(
  options: Partial<ExplainServerOptions> = {},
  app: FastifyInstance = Fastify(),
): Promise<{ app: FastifyInstance; url: string; get: (path: string) => Promise<Response> }> {
  await app.register(explainServer, { prefix: '/explainer', models, ...options });
  app.post('/mine', async () => ({ mine: true }));
  const address = await app.listen({ port: 0 });
  await app.gradcamModels.whenLoaded();
  const url = `${address}/explainer`;
  return { app, url, get: (path) => fetch(url + path) };
}

/** A picture that stays larger than Fastify's own limit of a mebibyte. */
const large = () =>
  sharp(Buffer.from(noise(1200 * 800 * 3).map((value) => value * 1e6).buffer, 0, 1200 * 800 * 3), {
    raw: { width: 1200, height: 800, channels: 3 },
  })
    .png()
    .toBuffer();

test('its models are there for the host', async (t) => {
  const { app } = await host();
  try {
    t.deepEqual(app.gradcamModels.names, ['lite']);
    t.true(app.gradcamModels.ready);
  } finally {
    await app.close();
  }
});

test('maxBodyBytes goes for its routes, the host’s own limit for others', async (t) => {
  const { app, url } = await host({ maxBodyBytes: 4_000_000 });
  try {
    const picture = await large();
    t.true(picture.length > 1024 ** 2 && picture.length < 4_000_000, `${picture.length} bytes`);
    const post = async (path: string, body: Uint8Array, headers: Record<string, string> = {}) =>
      (await rawRequest(url, path, { method: 'POST', body, headers })).status;
    t.is(await post('/explain/lite', picture), 200);
    const form = await formOf(new Uint8Array(picture));
    t.is(await post('/explain/lite', form.body, form.headers), 200);
    const json = { 'content-type': 'application/json' };
    const instances = { instances: [{ b64: picture.toString('base64') }], heatmap: 'none' };
    t.is(await post('/v1/models/lite:explain', Buffer.from(JSON.stringify(instances)), json), 200);
    const tensor = binaryInference(
      { inputs: [{ name: 'x', shape: [1, 3, 400, 400], datatype: 'FP32' }], outputs: [{ name: 'scores' }] },
      noise(3 * 400 * 400),
    );
    t.is(await post('/v2/models/lite/infer', tensor.body, tensor.headers), 200);
    t.is(await post('/explain/lite', Buffer.alloc(4_000_001)), 413);
    t.is(await post('/v2/models/lite/infer', Buffer.alloc(4_000_001, ' '), json), 413);
    const address = url.replace('/explainer', '');
    const own = await rawRequest(address, '/mine', {
      method: 'POST',
      headers: json,
      body: JSON.stringify('x'.repeat(1024 ** 2)),
    });
    t.is(own.status, 413);
  } finally {
    await app.close();
  }
});

test('draining answers what was accepted, and frees the models', async (t) => {
  const { app, url, get } = await host(
    {},
    Fastify({ return503OnClosing: false, forceCloseConnections: 'idle' }),
  );
  const accepted = holdRequest(url, '/v2/models/lite/infer', image(2));
  await untilPending({ get }, 1);
  const model = app.gradcamModels.get('lite').model;
  const draining = drain(app);
  t.false(app.gradcamModels.ready, 'not ready from the beginning of it');
  t.is((await accepted.finish()).status, 200);
  await draining;
  t.true(model.disposed);
});

/** Beginnings of bodies, of which the rest never comes. */
const trickling = {
  'a picture': ['/explain/lite', 'image/png', 'abc'],
  'a form': [
    '/explain/lite',
    'multipart/form-data; boundary=b',
    '--b\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\nabc',
  ],
  'the first protocol of KServe': ['/v1/models/lite:explain', 'application/json', '{"instances'],
  'the second': ['/v2/models/lite/infer', 'application/octet-stream', '{"inputs'],
} as const;

test('a body that trickles in is given up, though the host has no time for requests', async (t) => {
  const { app, url } = await host({ deadlineMs: 200 });
  try {
    const answers = Object.entries(trickling).map(async ([what, [path, type, start]]) => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1');
      const head = `POST /explainer${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${type}`;
      socket.write(`${head}\r\ncontent-length: 5000\r\n\r\n${start}`);
      const answer = await text(socket); // Ends when the server closes the connection.
      t.regex(answer, /^HTTP\/1\.1 408 /, what);
      t.regex(answer, /"code":"ERR_DEADLINE_EXCEEDED"/, what);
    });
    await Promise.all(answers);
    await untilPending({ get: (path) => fetch(url + path) }, 0);
  } finally {
    await app.close();
  }
});

test('a second one goes into a plugin of its own', async (t) => {
  const app = Fastify();
  await app.register(explainServer, { prefix: '/one', models });
  await app.register(async (scope) => {
    await scope.register(explainServer, { prefix: '/two', models: { other: models.lite } });
    t.deepEqual(scope.gradcamModels.names, ['other']);
  });
  t.deepEqual(app.gradcamModels.names, ['lite']);
  t.deepEqual((await app.inject('/two/v1/models')).json(), { models: ['other'] });
  await app.close();
});

test('trustProxy is an option of the host', async (t) => {
  const app = Fastify();
  await t.throwsAsync(async () => app.register(explainServer, { models, trustProxy: true }), {
    code: 'ERR_SERVER_CONFIG',
    message: /Fastify\(\{ trustProxy \}\)/,
  });
});
