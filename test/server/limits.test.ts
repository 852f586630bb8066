import test from 'ava';
import { rawRequest } from '../helpers/raw-request.js';
import { fixturePath } from '../helpers/root.js';
import { startServer } from '../helpers/server.js';

// How many requests an address may send, and whose address that is.

const options = {
  models: { lite: fixturePath('scripted.pt') },
  rateLimit: { max: 2, timeWindowMs: 60_000 },
};
const proxied = (address: string) => ({ headers: { 'x-forwarded-for': address } });

test('more than the limit gets a code of its own, and is told when to come again', async (t) => {
  await using running = await startServer(options);
  for (let count = 0; count < 2; count++) t.is((await running.get('/v1/models')).status, 200);
  const refused = await running.get('/v1/models');
  t.is(refused.status, 429);
  t.like(await refused.json(), { code: 'ERR_RATE_LIMITED' });
  const seconds = Number(refused.headers.get('retry-after'));
  t.true(seconds >= 1 && seconds <= 60, `${seconds} s`);
});

test('behind a trusted proxy each client has a limit of its own', async (t) => {
  await using running = await startServer({ ...options, trustProxy: '127.0.0.1' });
  const status = async (address: string) =>
    (await rawRequest(running.url, '/v1/models', proxied(address))).status;
  for (const address of ['203.0.113.1', '203.0.113.2', '2001:db8::1'])
    t.deepEqual(
      [await status(address), await status(address), await status(address)],
      [200, 200, 429],
      address,
    );
  t.is(
    await status('203.0.113.9, 203.0.113.1'),
    429,
    'what the client itself says of proxies before it is not believed',
  );
});

test('what nobody vouches for is not believed', async (t) => {
  await using running = await startServer({ ...options, trustProxy: ['10.0.0.0/8'] });
  const statuses: number[] = [];
  for (const last of [1, 2, 3])
    statuses.push((await rawRequest(running.url, '/v1/models', proxied(`203.0.113.${last}`))).status);
  t.deepEqual(statuses, [200, 200, 429]);
});
