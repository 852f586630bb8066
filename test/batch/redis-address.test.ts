import { inspect } from 'node:util';
import test from 'ava';
import { batchStatus, runBatchWorker, submitBatch } from 'node-gradcam/batch';
import { submission, withRedis } from '../helpers/batch.js';
import { gradcam } from '../helpers/cli.js';
import { RedisServer } from '../helpers/redis-server.js';

// Wherever an address of Redis is told, its password is not.

const password = 'open-sesame';
const wrong = [
  `redis://:${password}@host:99999`,
  `redis://user:${password}@host:port`,
  `redis://:${password}@`,
  `redis//:${password}@host`,
  `:${password}@host:6379`,
  `redis://:open@${password}@host:99999`,
  `http://:${password}@host`,
  `redis://host:99999?password=${password}`,
];

for (const redis of wrong) {
  test.serial(`${redis} is no address, and is told without its password`, async (t) => {
    const calls = [
      () => batchStatus({ redis }),
      () => runBatchWorker({ redis }),
      () => submitBatch(submission('/nowhere', { redis })),
    ];
    for (const call of calls) {
      const error = await t.throwsAsync(async () => call(), { code: 'ERR_INVALID_ARG_TYPE' });
      t.regex(error?.message ?? '', /a URL such as redis:\/\/127\.0\.0\.1:6379/);
      t.false(inspect(error, { depth: 9 }).includes(password));
    }
    const run = await gradcam(['batch', 'status', '--redis', redis]);
    t.is(run.code, 2);
    t.false(`${run.stdout}${run.stderr}`.includes(password), run.stderr);
  });
}

withRedis('a password that is refused is in no part of the error', async (t) => {
  const server = await RedisServer.start('--requirepass', 'another one');
  t.teardown(() => server.stop());
  const redis = server.url.replace('//', `//:${password}@`);
  const error = await t.throwsAsync(batchStatus({ redis }), { code: 'ERR_REDIS', message: /WRONGPASS/ });
  t.false(inspect(error, { depth: 9, showHidden: true }).includes(password));
});

test('a password among the options is not told either', async (t) => {
  const redis = `redis://127.0.0.1:1?password=${password}`;
  const error = await t.throwsAsync(batchStatus({ redis }), { code: 'ERR_REDIS' });
  t.false(inspect(error, { depth: 9 }).includes(password), error?.message);
});
