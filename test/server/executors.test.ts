import test from 'ava';
import { setThreads, threads } from 'node-gradcam';
import { holdExecutor } from '../helpers/hold-executor.js';
import { fixturePath } from '../helpers/root.js';
import { photo, type RunningServer, startServer } from '../helpers/server.js';
import { until } from '../helpers/until.js';

/** The status of an answer that was read. */
async function explain({ post }: RunningServer): Promise<number> {
  const response = await post('/explain/tiny?format=json', photo);
  await response.arrayBuffer();
  return response.status;
}

const models = { tiny: fixturePath('scripted.pt') };

test.serial('cores are divided by what is on its way, and given back', async (t) => {
  const before = threads();
  setThreads({ executors: 1, intraOpThreads: 4 });
  try {
    await using running = await startServer({ models });
    await using executor = await holdExecutor();
    const send = (count: number) => Array.from({ length: count }, () => explain(running));
    const few = send(15);
    await until(
      'fifteen to be on their way',
      () => running.server.gradcamModels.get('tiny').model.stats().jobs.waiting > 0,
    );
    t.deepEqual(threads(), { executors: 1, intraOpThreads: 4 });
    const more = send(17);
    await until('the cores to be divided', () => threads().executors === 4);
    t.deepEqual(threads(), { executors: 4, intraOpThreads: 1 });
    await executor.release();
    for (const status of await Promise.all([...few, ...more])) t.is(status, 200);
    await until('one executor to be left', () => threads().executors === 1);
    t.deepEqual(threads(), { executors: 1, intraOpThreads: 4 });
    t.is(await explain(running), 200);
  } finally {
    setThreads(before);
  }
});

test.serial('a fixed number of executors stays', async (t) => {
  const before = threads();
  try {
    await using running = await startServer({ models, executors: 2 });
    t.is(threads().executors, 2);
    await Promise.all(Array.from({ length: 20 }, () => explain(running)));
    t.is(threads().executors, 2);
  } finally {
    setThreads(before);
  }
});
