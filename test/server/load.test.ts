import { once } from 'node:events';
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import test from 'ava';
import { GradCAM, LayerCAM } from 'node-gradcam';
import { liteModel, noise } from '../helpers/fixtures.js';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';
import { holdExecutor } from '../helpers/hold-executor.js';
import { messagesOf } from '../helpers/messages.js';
import { fixturePath } from '../helpers/root.js';
import { binaryInference, floatsOf, photo, readInference, startServer } from '../helpers/server.js';
import {
  formOf,
  holdRequest,
  image,
  infer,
  jobsOf,
  metric,
  untilPending,
} from '../helpers/server-requests.js';
import { until } from '../helpers/until.js';

const tiny = fixturePath('scripted.pt');
/** For what depends neither on the model nor on batches. */
const small = { models: { lite: tiny }, maxBatch: 2 };

test.serial('requests of many connections share batches, each with its own class', async (t) => {
  await using running = await startServer({ models: { lite: tiny } });
  const before = await metric(running, /^nv_inference_count\{.*\} (\d+)$/m);
  const batches = await metric(running, /^nv_inference_exec_count\{.*\} (\d+)$/m);
  const started = messagesOf(t, 'gradcam:explain:start');
  await using executor = await holdExecutor();
  const asked = Array.from({ length: 24 }, (_, index) => infer(running, index + 1));
  await until('all of them to wait for a batch', () => started.length === 24);
  await executor.release();
  t.true((await Promise.all(asked)).every(({ status }) => status === 200));
  t.is((await metric(running, /^nv_inference_count\{.*\} (\d+)$/m)) - before, 24);
  // The first batch is what came first; the others are full, but for the last one.
  const used = (await metric(running, /^nv_inference_exec_count\{.*\} (\d+)$/m)) - batches;
  t.true(used === 3 || used === 4, `${used} batches`);
});

test.serial('what shares batches is what the library gives for each alone', async (t) => {
  await using running = await startServer({ maxBatch: 4 });
  const ask = async (seed: number, method: string) => {
    const { body, headers } = binaryInference(
      {
        inputs: [{ name: 'input', shape: [1, 3, 224, 224], datatype: 'FP32' }],
        parameters: { class: seed * 40, method, binary_data_output: true },
        outputs: [{ name: 'heatmap' }],
      },
      noise(3 * 224 * 224, seed),
    );
    const { json, outputs } = await readInference(await running.post('/v2/models/lite/infer', body, headers));
    return {
      seed,
      method,
      map: floatsOf(outputs.heatmap?.bytes ?? null),
      batch: Number(json.parameters?.batch_size),
    };
  };
  const methods = { gradcam: GradCAM, layercam: LayerCAM };
  const started = messagesOf(t, 'gradcam:explain:start');
  await using executor = await holdExecutor();
  const asked = Array.from({ length: 8 }, (_, index) => ask(index + 1, index % 2 ? 'gradcam' : 'layercam'));
  await until('all of them to wait for a batch', () => started.length === 8);
  await executor.release();
  const answers = await Promise.all(asked);
  // Of the four of each method: a first batch of those that came first, and a second one of the rest.
  for (const each of Object.keys(methods)) {
    const sizes = answers.filter(({ method }) => method === each).map(({ batch }) => batch);
    t.true(Math.max(...sizes) >= 2, `${each}: ${sizes}`);
  }
  for (const { seed, method, map } of answers) {
    const input = { data: noise(3 * 224 * 224, seed), shape: [1, 3, 224, 224] };
    const alone = await yardstick(liteModel, async (plainly) => {
      const cam = new methods[method as keyof typeof methods](plainly);
      return (await cam.explain(input, { targets: seed * 40 })).heatmaps;
    });
    asCloseAs(t, `image ${seed}, ${method}`, map, alone);
  }
});

test.serial('a full queue refuses at once, and has room again', async (t) => {
  await using running = await startServer({ ...small, maxPending: 4 });
  await using executor = await holdExecutor();
  const accepted = [1, 2, 3, 4].map((seed) => infer(running, seed));
  await untilPending(running, 4);
  const refused = await Promise.all(Array.from({ length: 20 }, (_, index) => infer(running, index)));
  t.true(refused.every(({ status }) => status === 503));
  const seconds = refused.map(({ headers }) => Number(headers.get('retry-after')));
  t.true(seconds.every((each) => each >= 1 && each <= 60));
  t.is(await metric(running, /^nv_inference_request_failure\{.*reason="REJECTED"\} (\d+)$/m), 20);
  await executor.release();
  t.true((await Promise.all(accepted)).every(({ status }) => status === 200));
  t.is((await infer(running, 1)).status, 200);
});

test.serial('bodies are refused beyond the memory that is set aside for them', async (t) => {
  await using running = await startServer({ ...small, maxPendingBytes: 900_000 });
  const first = holdRequest(running.url, '/v2/models/lite/infer', image(1));
  await untilPending(running, 1);
  t.is((await infer(running, 2)).status, 503, 'two of 600 KB are too many');
  t.is((await first.finish()).status, 200);
  await untilPending(running, 0);
  t.is((await infer(running, 2)).status, 200);
});

test.serial(
  'a deadline ends a request with 504, whatever the protocol, and the server goes on',
  async (t) => {
    await using running = await startServer(small);
    await using executor = await holdExecutor();
    const b64 = photo.toString('base64');
    const answers = await Promise.all([
      running.post('/explain/lite?deadline_ms=40', photo),
      running.post('/v1/models/lite:explain', { instances: [{ b64 }], deadline_ms: 40 }),
      running.post('/v1/models/lite:predict', { instances: [{ b64 }], deadline_ms: 40 }),
      running.post('/v2/models/lite/infer', {
        inputs: [{ name: 'i', shape: [1], datatype: 'BYTES', data: [b64] }],
        parameters: { deadline_ms: 40 },
      }),
    ]);
    for (const answer of answers) {
      t.is(answer.status, 504);
      t.is(((await answer.json()) as { code: string }).code, 'ERR_DEADLINE_EXCEEDED');
    }
    await untilPending(running, 0);
    t.is(await metric(running, /^nv_inference_request_failure\{.*reason="CANCELED"\} (\d+)$/m), 4);
    await executor.release();
    t.is((await infer(running, 1)).status, 200);
  },
);

test.serial('work is dropped: at its deadline, and while it runs when its client goes', async (t) => {
  // Score-CAM runs this model 1280 times: for minutes.
  await using running = await startServer({ maxBatch: 1 });
  const { done } = jobsOf(running);
  t.is((await running.post('/explain/lite?method=scorecam&deadline_ms=500', photo)).status, 504);
  await until('its job to end', () => jobsOf(running).running + jobsOf(running).waiting === 0);
  const { aborted } = jobsOf(running);
  const client = new AbortController();
  const request = running.get('/explain/lite?method=scorecam', {
    method: 'POST',
    body: new Uint8Array(photo),
    signal: client.signal,
  });
  await until('its job to run', () => jobsOf(running).running === 1);
  client.abort();
  await t.throwsAsync(request, { any: true });
  // It runs no more before its end is told: until then it counts as waiting.
  await until('its job to end', () => jobsOf(running).running + jobsOf(running).waiting === 0);
  t.like(jobsOf(running), { done, aborted: aborted + 1, waiting: 0 });
  await untilPending(running, 0);
  t.is((await infer(running, 1)).status, 200);
});

test.serial('a body that trickles in is given up with 408', async (t) => {
  await using running = await startServer({ ...small, deadlineMs: 1000 });
  const { port, hostname } = new URL(running.url);
  const socket = connect(Number(port), hostname);
  socket.write(
    'POST /explain/lite HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\ncontent-length: 5000\r\n\r\nabc',
  );
  t.regex((await buffer(socket)).toString(), /^HTTP\/1\.1 408 /);
  await untilPending(running, 0);
});

test.serial('under memory pressure requests are refused, health is not', async (t) => {
  await using running = await startServer({ ...small, maxRssBytes: 1024 ** 2 });
  await until('the pressure to be seen', async () => {
    const response = await running.post('/explain/lite', photo);
    return response.status === 503 && response.headers.has('retry-after');
  });
  t.is((await running.get('/v2/health/live')).status, 200);
  t.is((await running.get('/metrics')).status, 200);
});

test.serial('close() answers what was accepted, whatever its stage', async (t) => {
  const running = await startServer(small);
  await using executor = await holdExecutor();
  const queued = Array.from({ length: 4 }, (_, index) => infer(running, index));
  const form = holdRequest(running.url, '/explain/lite', await formOf(new Uint8Array(photo)));
  const inference = holdRequest(running.url, '/v2/models/lite/infer', image(4));
  await untilPending(running, 6);
  const silent = connect(Number(new URL(running.url).port), new URL(running.url).hostname);
  await once(silent, 'connect');
  const closed = running.server.close();
  await until('no more connections to be taken', () => !running.server.server.listening);
  await t.throwsAsync(running.get('/v2/health/live'));
  await executor.release();
  const answers = await Promise.all([...queued, form.finish(), inference.finish()]);
  t.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  // Neither does a connection on which nothing ever came hold it up.
  await closed;
});
