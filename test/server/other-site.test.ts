import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import Fastify from 'fastify';
import { explainServer } from 'node-gradcam/server';
import { withBrowser } from '../helpers/browser.js';
import { fixturePath } from '../helpers/root.js';
import { photo, photoPath, type RunningServer, startServer } from '../helpers/server.js';
import { metric } from '../helpers/server-requests.js';
import { testWith } from '../helpers/test-with.js';
import { until } from '../helpers/until.js';

// What a real browser sends from pages of other sites, and what it lets them read.

const inBrowser = testWith('Chromium');
const models = { lite: fixturePath('scripted.pt') };
const token = 'correct horse';

interface Site extends AsyncDisposable {
  readonly port: number;
}

async function listen(server: Server): Promise<Site> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A site with one empty page. */
const otherSite = () =>
  listen(
    createServer((_request, response) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>Other</title>'),
    ),
  );

/** A reverse proxy that calls the server by its address, and tells by which name it was called itself. */
const proxyTo = (running: RunningServer) =>
  listen(
    createServer((incoming, outgoing) => {
      const { host = '', ...headers } = incoming.headers;
      const onward = request(running.url + incoming.url, {
        method: incoming.method,
        headers: { ...headers, 'x-forwarded-host': host, 'x-forwarded-for': '203.0.113.7' },
      });
      onward.once('response', (response) => {
        outgoing.writeHead(response.statusCode ?? 500, response.headers);
        response.pipe(outgoing);
      });
      onward.once('error', () => outgoing.destroy());
      incoming.pipe(onward);
    }),
  );

/** What a page of another site can do without asking, with the route that it reaches. */
const ways: Record<string, readonly [method: string, route: string, script: string]> = {
  'a simple request': [
    'POST',
    '/explain/:model',
    "await fetch(url + '/explain/lite', { method: 'POST', mode: 'no-cors', body: 'picture' })",
  ],
  'a request to unload': [
    'POST',
    '/v2/repository/models/:model/unload',
    "await fetch(url + '/v2/repository/models/lite/unload', { method: 'POST', mode: 'no-cors', body: '{}' })",
  ],
  'a request to read': ['GET', '/v1/models', "await fetch(url + '/v1/models')"],
  'a form': [
    'POST',
    '/explain/:model',
    `const frame = Object.assign(document.createElement('iframe'), { name: 'there' });
    const form = document.createElement('form');
    Object.assign(form, { method: 'post', action: url + '/explain/lite', target: 'there', enctype: 'text/plain' });
    document.body.append(frame, form);
    form.submit();`,
  ],
  'an image': [
    'GET',
    '/explain/:model',
    "document.body.append(Object.assign(new Image(), { src: url + '/explain/lite' }))",
  ],
};

inBrowser('a page of another site cannot have anything computed, read or changed', async (t) => {
  await using running = await startServer({ models, modelControl: true, insecure: true });
  await using other = await otherSite();
  const counted = async (method: string, route: string, status: number) =>
    (await metric(
      running,
      new RegExp(
        `^http_requests_total\\{method="${method}",route="${route}",status="${status}"\\} (\\d+)$`,
        'm',
      ),
    )) || 0;
  await withBrowser(async (page) => {
    for (const origin of [`http://localhost:${other.port}`, `http://evil.example:${other.port}`]) {
      for (const [what, [method, route, script]] of Object.entries(ways)) {
        await page.goto(origin);
        const before = await counted(method, route, 403);
        // The page is told nothing, so that the server is asked what it answered.
        await page.evaluate(`(async () => { const url = '${running.url}'; ${script} })().catch(() => {})`);
        await until(`${what} of ${origin}`, async () => (await counted(method, route, 403)) === before + 1);
        t.is(await counted(method, route, 200), 0, what);
      }
    }
  });
  t.is((await running.post('/explain/lite', photo)).status, 200, 'it still serves');
});

inBrowser('a page whose name points here reads nothing', async (t) => {
  await using running = await startServer({ models });
  const { port } = new URL(running.url);
  await withBrowser(async (page) => {
    const response = await page.goto(`http://evil.example:${port}/`);
    t.is(response?.status(), 403);
    const read = (await page.evaluate("fetch('/v1/models').then((answer) => answer.json())")) as {
      code: string;
    };
    t.is(read.code, 'ERR_HOST_NOT_ALLOWED');
  });
});

inBrowser(
  'a front end of an allowed origin asks with a token, and reads answers, failures and headers',
  async (t) => {
    await using other = await otherSite();
    const origin = `http://app.example.com:${other.port}`;
    await using running = await startServer({ models, tokens: [token], allowedOrigins: [origin] });
    await withBrowser(async (page) => {
      const ask = (path: string, authorization: string) =>
        page.evaluate(`(async () => {
        const body = Uint8Array.from(atob('${photo.toString('base64')}'), (letter) => letter.charCodeAt(0));
        const answer = await fetch('${running.url}${path}', {
          method: 'POST', body, headers: { authorization: '${authorization}', 'content-type': 'image/png', 'x-request-id': 'mine-7' },
        });
        const { model, code } = await answer.json();
        const headers = ['x-request-id', 'x-batch-size'].map((name) => answer.headers.get(name));
        return { status: answer.status, model, code, headers };
      })()`);
      await page.goto(origin);
      t.deepEqual(await ask('/explain/lite?format=json', `Bearer ${token}`), {
        status: 200,
        model: 'lite',
        code: undefined,
        headers: ['mine-7', '1'],
      });
      t.like(await ask('/explain/none?format=json', `Bearer ${token}`), {
        status: 404,
        code: 'ERR_UNKNOWN_MODEL',
      });
      t.like(await ask('/explain/lite?format=json', 'Bearer wrong token'), { status: 401 });
      await page.goto(`http://evil.example:${other.port}`);
      await t.throwsAsync(ask('/explain/lite?format=json', `Bearer ${token}`), {
        message: /Failed to fetch/,
      });
    });
  },
);

inBrowser('the server’s own page explains behind a proxy, by a name', async (t) => {
  await using running = await startServer({
    models,
    allowedHosts: ['gradcam.example.com'],
    trustProxy: 'loopback',
  });
  await using proxy = await proxyTo(running);
  await withBrowser(async (page) => {
    const refused: string[] = [];
    page.on('response', (response) => {
      if (response.status() >= 400) refused.push(`${response.status()} ${response.url()}`);
    });
    // Not a secure context: the browser says Origin, and nothing of Sec-Fetch-Site.
    await page.goto(`http://gradcam.example.com:${proxy.port}`);
    await page.setInputFiles('input[type=file]', photoPath);
    await page.locator('figure.result canvas').first().waitFor();
    t.deepEqual(refused, []);
    const other = await page.goto(`http://other.example.com:${proxy.port}/v2`);
    t.is(other?.status(), 403);
  });
});

inBrowser('the page explains under a prefix of a server of your own', async (t) => {
  const app = Fastify();
  await app.register(explainServer, { prefix: '/explainer', models, allowedHosts: ['app.example.com'] });
  const address = await app.listen({ port: 0 });
  await app.gradcamModels.whenLoaded();
  try {
    await withBrowser(async (page) => {
      for (const host of ['127.0.0.1', 'localhost', 'app.example.com']) {
        await page.goto(`http://${host}:${new URL(address).port}/explainer/`);
        await page.setInputFiles('input[type=file]', photoPath);
        await page.locator('figure.result canvas').first().waitFor();
      }
    });
    t.pass();
  } finally {
    await app.close();
  }
});
