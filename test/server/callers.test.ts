import { networkInterfaces } from 'node:os';
import test from 'ava';
import Fastify from 'fastify';
import { createServer, type ExplainServerOptions, explainServer } from 'node-gradcam/server';
import { type RawAnswer, rawRequest } from '../helpers/raw-request.js';
import { fixturePath } from '../helpers/root.js';
import { photo, type RunningServer, startServer } from '../helpers/server.js';

// Who may call: by which names, and from which pages. What browsers send is written by hand here; test/server/other-site.test.ts
// has a browser send it.

const models = { lite: fixturePath('scripted.pt') };
const token = 'correct horse';
const bearer = { authorization: `Bearer ${token}` };

const start = (options: Partial<ExplainServerOptions> = {}) => startServer({ models, ...options });
const told = ({ status, code }: RawAnswer) => [status, code];
const wrongHost = [403, 'ERR_HOST_NOT_ALLOWED'];
const wrongOrigin = [403, 'ERR_ORIGIN_NOT_ALLOWED'];

let usual: RunningServer;
test.before(async () => {
  usual = await start();
});
test.after.always(() => usual.server.close());

const everyRoute = [
  '/',
  '/openapi.json',
  '/metrics',
  '/explain',
  '/explain/lite',
  '/v1/models',
  '/v2',
  '/nothing',
];

test('a name that is not the server’s is refused on every route but health', async (t) => {
  for (const host of [
    'attacker.example',
    'attacker.example:8080',
    'localhost.attacker.example',
    'x@localhost',
  ]) {
    for (const path of everyRoute)
      t.deepEqual(told(await rawRequest(usual.url, path, { headers: { host } })), wrongHost, host + path);
    const post = { method: 'POST', headers: { host }, body: photo };
    t.deepEqual(told(await rawRequest(usual.url, '/explain/lite', post)), wrongHost);
    for (const path of ['/v2/health/live', '/v2/health/ready'])
      t.is((await rawRequest(usual.url, path, { headers: { host } })).status, 200, path);
  }
  const { text } = await rawRequest(usual.url, '/v2', { headers: { host: 'attacker.example' } });
  t.regex(text, /--allowed-host attacker\.example/, 'the cure is in the message');
});

test('addresses and localhost are its names by themselves', async (t) => {
  const port = new URL(usual.url).port;
  const names = [
    'localhost',
    'LOCALHOST',
    'a.localhost',
    'localhost.',
    '127.0.0.1',
    '[::1]',
    '10.1.2.3',
    '[2001:db8::7]',
  ];
  for (const name of names)
    for (const host of [name, `${name}:${port}`])
      t.is((await rawRequest(usual.url, '/v2', { headers: { host } })).status, 200, host);
});

test('allowedHosts adds names, and all names below one', async (t) => {
  await using running = await start({ allowedHosts: ['gradcam.example.com', '.internal.example'] });
  const status = async (host: string) => (await rawRequest(running.url, '/v2', { headers: { host } })).status;
  for (const host of [
    'gradcam.example.com',
    'GRADCAM.example.com:80',
    'a.internal.example',
    'internal.example',
    '127.0.0.1',
  ])
    t.is(await status(host), 200, host);
  for (const host of [
    'example.com',
    'x.gradcam.example.com',
    'xinternal.example',
    'gradcam.example.com.evil.example',
  ])
    t.is(await status(host), 403, host);
  await using open = await start({ allowedHosts: ['*'] });
  t.is((await rawRequest(open.url, '/v2', { headers: { host: 'anything.example' } })).status, 200);
});

test('with tokens any name will do, unless names are given', async (t) => {
  const headers = { host: 'anything.example', ...bearer };
  await using running = await start({ tokens: [token] });
  t.is((await rawRequest(running.url, '/v2', { headers })).status, 200);
  t.is((await rawRequest(running.url, '/v2', { headers: { host: headers.host } })).status, 401);
  await using named = await start({ tokens: [token], allowedHosts: ['gradcam.example.com'] });
  t.deepEqual(told(await rawRequest(named.url, '/v2', { headers })), wrongHost);
});

const evil = 'https://evil.example';
/** What browsers say of requests by pages of elsewhere. */
const foreign: Record<string, Record<string, string>> = {
  'a page of another site': { origin: evil, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' },
  'a browser without Sec-Fetch-Site': { origin: evil },
  'a page of another port': { origin: 'http://localhost:3000', 'sec-fetch-site': 'same-site' },
  'a page that hides its origin': { origin: 'null' },
  'an image of another page': {
    'sec-fetch-site': 'cross-site',
    'sec-fetch-mode': 'no-cors',
    'sec-fetch-dest': 'image',
  },
  'a frame of another page': {
    'sec-fetch-site': 'cross-site',
    'sec-fetch-mode': 'navigate',
    'sec-fetch-dest': 'iframe',
  },
};

for (const [what, headers] of Object.entries(foreign)) {
  test(`${what} is refused`, async (t) => {
    for (const path of ['/metrics', '/explain', '/explain/lite', '/v1/models', '/v2/models/lite', '/v2'])
      t.deepEqual(told(await rawRequest(usual.url, path, { headers })), wrongOrigin, path);
    // All of these are simple requests: browsers send them without asking first.
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      '',
    ]) {
      for (const path of [
        '/explain/lite',
        '/v1/models/lite:predict',
        '/v2/models/lite/infer',
        '/v2/repository/index',
        '/v2/repository/models/lite/unload',
      ]) {
        const sent = { ...headers, ...(type === '' ? {} : { 'content-type': type }) };
        t.deepEqual(
          told(await rawRequest(usual.url, path, { method: 'POST', headers: sent, body: photo })),
          wrongOrigin,
          path,
        );
      }
    }
    for (const path of ['/', '/v2/health/ready', '/openapi.json'])
      t.is((await rawRequest(usual.url, path, { headers })).status, 200, `${path} tells nothing`);
  });
}

test('the server’s own page, links and what is no browser are let through', async (t) => {
  const own = new URL(usual.url);
  for (const headers of [
    {},
    { origin: usual.url, 'sec-fetch-site': 'same-origin' },
    { origin: usual.url },
    { origin: `http://localhost:${own.port}`, host: `localhost:${own.port}` },
    { 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' },
    { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' },
  ] as Record<string, string>[]) {
    t.is((await rawRequest(usual.url, '/explain/lite', { headers })).status, 200, JSON.stringify(headers));
    if (headers['sec-fetch-site'] === 'cross-site') continue;
    const posted = await rawRequest(usual.url, '/explain/lite', { method: 'POST', headers, body: photo });
    t.is(posted.status, 200, JSON.stringify(headers));
  }
  const form = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
  t.deepEqual(
    told(await rawRequest(usual.url, '/explain/lite', { method: 'POST', headers: form, body: photo })),
    wrongOrigin,
    'a form that is sent from elsewhere is no link',
  );
});

test('allowed origins may ask, send tokens and read', async (t) => {
  const origin = 'https://app.example.com';
  await using running = await start({ allowedOrigins: [origin], tokens: [token] });
  const preflight = (from: string) =>
    rawRequest(running.url, '/explain/lite', {
      method: 'OPTIONS',
      headers: {
        origin: from,
        'sec-fetch-site': 'cross-site',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    });
  const asked = await preflight(origin);
  t.is(asked.status, 204);
  t.is(asked.headers['access-control-allow-origin'], origin);
  t.regex(String(asked.headers['access-control-allow-headers']), /authorization/);
  t.regex(String(asked.headers['access-control-allow-methods']), /POST/);
  t.is((await preflight(evil)).headers['access-control-allow-origin'], undefined);

  const headers = { origin, 'sec-fetch-site': 'cross-site', ...bearer };
  const answer = await rawRequest(running.url, '/explain/lite', { method: 'POST', headers, body: photo });
  t.is(answer.status, 200);
  t.is(answer.headers['access-control-allow-origin'], origin);
  const exposed = String(answer.headers['access-control-expose-headers']).split(', ');
  for (const name of ['x-request-id', 'x-batch-size', 'inference-header-content-length', 'retry-after'])
    t.true(exposed.includes(name), name);
  const refused = await rawRequest(running.url, '/explain/none', { method: 'POST', headers, body: photo });
  t.is(refused.headers['access-control-allow-origin'], origin, 'failures can be read as well');
  t.deepEqual(
    told(await rawRequest(running.url, '/v2', { headers: { ...headers, origin: evil } })),
    wrongOrigin,
    'a token makes no page an allowed one',
  );
});

test('without allowed origins there is no CORS', async (t) => {
  const headers = { origin: usual.url, 'access-control-request-method': 'POST' };
  const { status, headers: got } = await rawRequest(usual.url, '/explain/lite', {
    method: 'OPTIONS',
    headers,
  });
  t.is(status, 405);
  t.is(got['access-control-allow-origin'], undefined);
});

test('behind a proxy, by the name that it was called', async (t) => {
  const options = { trustProxy: '127.0.0.0/8', allowedHosts: ['gradcam.example.com'] };
  await using running = await start(options);
  const forwarded = { 'x-forwarded-host': 'gradcam.example.com', 'x-forwarded-proto': 'https' };
  const from = async (origin: string, more: Record<string, string> = forwarded) =>
    told(await rawRequest(running.url, '/v2', { headers: { ...more, origin } }));
  t.deepEqual(await from('https://gradcam.example.com'), [200, undefined]);
  t.deepEqual(await from(evil), wrongOrigin);
  t.deepEqual(await from('https://evil.example', { 'x-forwarded-host': 'evil.example' }), wrongHost);
  // A page whose name points here may say what it likes, but not what the browser calls the server.
  t.deepEqual(
    await from(evil, { host: 'evil.example', 'x-forwarded-host': 'gradcam.example.com' }),
    wrongHost,
  );
  t.deepEqual(
    told(
      await rawRequest(usual.url, '/v2', {
        headers: { ...forwarded, origin: 'https://gradcam.example.com' },
      }),
    ),
    wrongOrigin,
    'a proxy that is not trusted tells nothing',
  );
  // A proxy that says nothing of names: the browser itself does.
  const silent = { origin: 'https://gradcam.example.com', 'sec-fetch-site': 'same-origin' };
  t.is((await rawRequest(usual.url, '/v2', { headers: silent })).status, 200);
});

test('as a plugin it looks after its own routes only', async (t) => {
  const app = Fastify();
  app.get('/mine', async () => ({ mine: true }));
  await app.register(explainServer, {
    prefix: '/explainer',
    models,
    allowedOrigins: ['https://app.example.com'],
  });
  const url = await app.listen({ port: 0 });
  try {
    const headers = { host: 'attacker.example', origin: evil };
    t.is((await rawRequest(url, '/mine', { headers })).status, 200);
    t.deepEqual(told(await rawRequest(url, '/explainer/v2', { headers })), wrongHost);
    t.deepEqual(told(await rawRequest(url, '/explainer/v2', { headers: { origin: evil } })), wrongOrigin);
    const allowed = { origin: 'https://app.example.com', 'access-control-request-method': 'POST' };
    const preflight = { method: 'OPTIONS', headers: allowed };
    t.is((await rawRequest(url, '/explainer/explain/lite', preflight)).status, 204);
    t.is((await rawRequest(url, '/mine', preflight)).status, 404);
  } finally {
    await app.close();
  }
});

test('options that open the server to everybody have to be meant', (t) => {
  const refused = (options: object, message: RegExp) =>
    t.throws(() => createServer({ models, ...options }), { code: 'ERR_SERVER_CONFIG', message });
  refused({ modelControl: true }, /no tokens.*--token-file.*--insecure/);
  refused({ modelControl: true, tokens: [] }, /no tokens/);
  refused({ allowedOrigins: ['*'] }, /no tokens/);
  refused({ allowedOrigins: ['https://app.example.com/'] }, /Expected an origin/);
  for (const origin of [
    'app.example.com',
    'https://APP.example.com',
    'https://a.example:443',
    'null',
    'capacitor:',
  ])
    refused({ allowedOrigins: [origin] }, /Expected an origin/);
  for (const origin of ['https://a.example:8443', 'capacitor://localhost'])
    t.notThrows(() => createServer({ models, allowedOrigins: [origin] }), origin);
  refused({ allowedHosts: ['http://x'] }, /Expected a name/);
  refused({ allowedHosts: ['x:8080'] }, /Expected a name/);
  for (const trustProxy of ['10.0.0.0/33', 'nginx', '', 1, ['10.0.0.1', 'x']])
    refused({ trustProxy }, /trustProxy/);
});

/** An address of this machine that is not loopback, where it has one; else another of loopback's. */
const outer =
  Object.values(networkInterfaces())
    .flat()
    .find((each) => each?.family === 'IPv4' && !each.internal)?.address ?? '127.0.0.2';

test('listening on all addresses, it is called by each of them', async (t) => {
  const server = createServer({ models });
  await server.listen({ port: 0, host: '0.0.0.0' });
  const { port } = server.server.address() as { port: number };
  try {
    t.is((await rawRequest(`http://${outer}:${port}`, '/v2')).status, 200);
    const headers = { host: 'attacker.example' };
    t.deepEqual(told(await rawRequest(`http://${outer}:${port}`, '/v2', { headers })), wrongHost);
  } finally {
    await server.close();
  }
});
