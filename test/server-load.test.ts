import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { GradCAM, LayerCAM } from 'node-gradcam';
import { fixturePath, noise } from './helpers/fixtures.js';
import { asCloseAs, yardstick } from './helpers/float64-result.js';
import { binaryInference, floatsOf, liteModel, photo, readInference, startServer } from './helpers/server.js';
import { eventually, image, infer, metric } from './helpers/server-requests.js';

test.serial('requests of many connections share batches, each with its own class', async (t) => {
  await using running = await startServer();
  const before = await metric(running, /^nv_inference_count\{.*\} (\d+)$/m);
  const batches = await metric(running, /^nv_inference_exec_count\{.*\} (\d+)$/m);
  const responses = await Promise.all(Array.from({ length: 24 }, (_, index) => infer(running, index + 1)));
  t.true(responses.every(({ status }) => status === 200));
  t.is((await metric(running, /^nv_inference_count\{.*\} (\d+)$/m)) - before, 24);
  const used = (await metric(running, /^nv_inference_exec_count\{.*\} (\d+)$/m)) - batches;
  t.true(used >= 3 && used <= 12, `${used} batches`);
});

test.serial('what shares batches is what the library gives for each alone', async (t) => {
  await using running = await startServer();
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
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) => ask(index + 1, index % 2 ? 'gradcam' : 'layercam')),
  );
  t.true(
    answers.some(({ batch }) => batch >= 4),
    answers.map(({ batch }) => batch).join(),
  );
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
  await using running = await startServer({ maxPending: 4 });
  const started = performance.now();
  const answers = await Promise.all(
    Array.from({ length: 24 }, async (_, index) => {
      const response = await infer(running, index + 1);
      await response.arrayBuffer();
      return {
        status: response.status,
        retry: response.headers.get('retry-after'),
        ms: performance.now() - started,
      };
    }),
  );
  const refused = answers.filter(({ status }) => status === 503);
  const accepted = answers.filter(({ status }) => status === 200);
  t.is(refused.length + accepted.length, 24);
  t.true(accepted.length >= 4 && refused.length >= 4, `${accepted.length} accepted`);
  t.true(refused.every(({ retry }) => Number(retry) >= 1 && Number(retry) <= 60));
  t.is(await metric(running, /^nv_inference_request_failure\{.*reason="REJECTED"\} (\d+)$/m), refused.length);
  t.is((await infer(running, 1)).status, 200);
});

test.serial('bodies are refused beyond the memory that is set aside for them', async (t) => {
  await using running = await startServer({ maxPendingBytes: 900_000 });
  const statuses = (await Promise.all([1, 2, 3, 4].map((seed) => infer(running, seed)))).map(
    ({ status }) => status,
  );
  t.true(statuses.includes(503) && statuses.includes(200), statuses.join());
});

test.serial(
  'a deadline ends a request with 504, whatever the protocol, and the server goes on',
  async (t) => {
    await using running = await startServer();
    const { body } = image(1);
    const b64 = photo.toString('base64');
    const answers = await Promise.all([
      running.post('/explain/lite?method=scorecam&deadline_ms=40', photo),
      running.post('/v1/models/lite:explain', { instances: [{ b64 }], method: 'scorecam', deadline_ms: 40 }),
      running.post('/v2/models/lite/infer', {
        inputs: [{ name: 'i', shape: [1], datatype: 'BYTES', data: [b64] }],
        parameters: { method: 'scorecam', deadline_ms: 40 },
      }),
    ]);
    for (const answer of answers) {
      t.is(answer.status, 504);
      t.is(((await answer.json()) as { code: string }).code, 'ERR_DEADLINE_EXCEEDED');
    }
    t.true(body.length > 0);
    await eventually(
      t,
      'nothing is pending',
      async () => (await metric(running, /^nv_inference_pending_request_count (\d+)/m)) === 0,
    );
    t.is(await metric(running, /^nv_inference_request_failure\{.*reason="CANCELED"\} (\d+)$/m), 3);
    t.is((await infer(running, 1)).status, 200);
  },
);

test.serial('the work of a client that has gone is dropped', async (t) => {
  await using running = await startServer();
  const client = new AbortController();
  const request = running.get('/explain/lite?method=scorecam', {
    method: 'POST',
    body: new Uint8Array(photo),
    signal: client.signal,
  });
  await sleep(200);
  t.is(await metric(running, /^nv_inference_pending_request_count (\d+)/m), 1);
  client.abort();
  await t.throwsAsync(request, { any: true });
  // ScoreCAM runs this model 1280 times: far more than a minute here.
  await eventually(
    t,
    'it was dropped',
    async () => (await metric(running, /^nv_inference_pending_request_count (\d+)/m)) === 0,
    3000,
  );
  const started = performance.now();
  t.is((await infer(running, 1)).status, 200);
  t.true(performance.now() - started < 5000);
});

test.serial('a body that trickles in is given up with 408', async (t) => {
  await using running = await startServer({ models: { lite: fixturePath('scripted.pt') }, deadlineMs: 1000 });
  const { port, hostname } = new URL(running.url);
  const socket = connect(Number(port), hostname);
  socket.write(
    'POST /explain/lite HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 5000\r\n\r\nabc',
  );
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  await Promise.race([new Promise((resolve) => socket.once('close', resolve)), sleep(8000)]);
  t.regex(Buffer.concat(chunks).toString(), /^HTTP\/1\.1 408 /);
  await eventually(
    t,
    'its room is free',
    async () => (await metric(running, /^nv_inference_pending_request_count (\d+)/m)) === 0,
  );
});

test.serial('under memory pressure requests are refused, health is not', async (t) => {
  await using running = await startServer({
    models: { lite: fixturePath('scripted.pt') },
    maxRssBytes: 1024 ** 2,
  });
  await eventually(t, 'the pressure was seen', async () => {
    const response = await running.post('/explain/lite', photo);
    return response.status === 503 && response.headers.has('retry-after');
  });
  t.is((await running.get('/v2/health/live')).status, 200);
  t.is((await running.get('/metrics')).status, 200);
});

test.serial('close() answers what was accepted', async (t) => {
  // The batch waits for company: all are under way when the server is closed.
  const running = await startServer({ maxBatch: 17, maxDelayMs: 500 });
  const accepted = Array.from({ length: 16 }, (_, index) => infer(running, index + 1));
  await eventually(
    t,
    'all are accepted',
    async () => (await metric(running, /^nv_inference_pending_request_count (\d+)/m)) === 16,
  );
  await running.server.close();
  t.deepEqual(new Set((await Promise.all(accepted)).map(({ status }) => status)), new Set([200]));
  await t.throwsAsync(running.get('/v2/health/live'));
});
