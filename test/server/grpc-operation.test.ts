import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { compressionAlgorithms } from '@grpc/grpc-js';
import test from 'ava';
import { createServer } from 'node-gradcam/server';
import { noise } from '../helpers/fixtures.js';
import {
  answersOf,
  type GrpcClient,
  grpcClient,
  holdCall,
  type Message,
  parameters,
  raw,
} from '../helpers/grpc-client.js';
import { holdExecutor } from '../helpers/hold-executor.js';
import { messagesOf } from '../helpers/messages.js';
import { fixturePath } from '../helpers/root.js';
import { type RunningServer, startServer } from '../helpers/server.js';
import { jobsOf, metric, untilPending } from '../helpers/server-requests.js';
import { until } from '../helpers/until.js';

// Limits, load and the end of the server, for calls of gRPC: the same as HTTP's.

const tiny = fixturePath('scripted.pt');
const small = { models: { lite: tiny }, maxBatch: 2, grpcPort: 0 };
const image = (seed = 1): Message => ({
  model_name: 'lite',
  inputs: [{ name: 'x', shape: [1, 3, 16, 16], datatype: 'FP32' }],
  raw_input_contents: [raw(noise(3 * 16 * 16, seed))],
  parameters: parameters({ class: seed % 5 }),
  outputs: [{ name: 'heatmap' }],
});
const clientOf = ({ server }: RunningServer, ...options: [object?, string?]): GrpcClient =>
  grpcClient(server.gradcamGrpc?.address, ...options);
const health = 'grpc.health.v1.Health';

test.serial(
  'calls share the queue with HTTP: what is full refuses at once, and has room again',
  async (t) => {
    await using running = await startServer({ ...small, maxPending: 4 });
    using client = clientOf(running);
    await using executor = await holdExecutor();
    const accepted = [1, 2, 3, 4].map((seed) => client.call('ModelInfer', image(seed)));
    await untilPending(running, 4);
    const refused = await Promise.all([5, 6, 7].map((seed) => client.call('ModelInfer', image(seed))));
    for (const { status, code, details, trailers } of refused) {
      t.is(status, 'UNAVAILABLE');
      t.is(code, 'ERR_BUSY');
      t.regex(details, /4 maps are on their way already/);
      t.true(Number(trailers['grpc-retry-pushback-ms']) >= 1000);
    }
    t.is((await running.post('/v2/models/lite/infer', {})).status, 503);
    t.is(
      await metric(running, /^nv_inference_request_failure\{model="",version="",reason="REJECTED"\} (\d+)$/m),
      3,
    );
    await executor.release();
    for (const { status } of await Promise.all(accepted)) t.is(status, 'OK');
    await untilPending(running, 0);
    t.is((await client.call('ModelInfer', image())).status, 'OK');
  },
);

test.serial('calls share batches with each other and with HTTP', async (t) => {
  await using running = await startServer({ ...small, maxBatch: 8 });
  using client = clientOf(running);
  const started = messagesOf(t, 'gradcam:explain:start');
  await using executor = await holdExecutor();
  const first = client.call('ModelInfer', image());
  await until('the first to be a batch', () => started.length === 1);
  const asked = [2, 3, 4].map((seed) => client.call('ModelInfer', image(seed)));
  const { inputs } = image();
  const overHttp = running.post('/v2/models/lite/infer', {
    inputs: [{ ...inputs[0], data: [...noise(3 * 16 * 16)] }],
    parameters: { class: 1 },
    outputs: [{ name: 'scores' }],
  });
  await until('all others to wait', () => started.length === 5);
  await executor.release();
  await first;
  for (const { response } of await Promise.all(asked)) t.is(response.parameters.batch_size.int64_param, 4);
  t.is(((await (await overHttp).json()) as Message).parameters.batch_size, 4);
});

test.serial('a deadline, of gRPC, ours or Triton’s, ends a call, and the server goes on', async (t) => {
  await using running = await startServer(small);
  using client = clientOf(running);
  await using executor = await holdExecutor();
  const withOwn = (own: Message) => ({ ...image(), parameters: parameters({ class: 1, ...own }) });
  const ended = await Promise.all([
    client.call('ModelInfer', image(), { deadline: 60 }),
    client.call('ModelInfer', withOwn({ deadline_ms: 40 })),
    client.call('ModelInfer', withOwn({ timeout: 40_000 })),
    client.call('ModelInfer', withOwn({ deadline_ms: 40 }), { deadline: 3_600_000 }),
  ]);
  for (const { status } of ended) t.is(status, 'DEADLINE_EXCEEDED');
  for (const { code, details } of ended.slice(1)) {
    t.is(code, 'ERR_DEADLINE_EXCEEDED');
    t.is(details, 'There was no answer within 40 ms.');
  }
  await untilPending(running, 0);
  t.is(await metric(running, /^nv_inference_request_failure\{.*reason="CANCELED"\} (\d+)$/m), 4);
  await executor.release();
  t.is((await client.call('ModelInfer', image())).status, 'OK');
});

test.serial('without a deadline of its own, a call has the server’s', async (t) => {
  await using running = await startServer({ ...small, deadlineMs: 300 });
  using client = clientOf(running);
  await using executor = await holdExecutor();
  t.is((await client.call('ModelInfer', image())).details, 'There was no answer within 300 ms.');
  await executor.release();
});

test.serial('the work of a call is dropped while it runs when its client goes', async (t) => {
  await using running = await startServer({ maxBatch: 1, grpcPort: 0 });
  using client = clientOf(running);
  // Score-CAM runs this model 1280 times: for minutes.
  const long = {
    model_name: 'lite',
    inputs: [{ name: 'input', shape: [1, 3, 224, 224], datatype: 'FP32' }],
    raw_input_contents: [raw(noise(3 * 224 * 224))],
    parameters: parameters({ class: 1, method: 'scorecam' }),
  };
  const { done, aborted } = jobsOf(running);
  const idle = () => jobsOf(running).running + jobsOf(running).waiting === 0;
  const controller = new AbortController();
  const ended = client.call('ModelInfer', long, { signal: controller.signal });
  await until('its job to run', () => jobsOf(running).running === 1);
  controller.abort();
  t.is((await ended).status, 'CANCELLED');
  await until('its job to end', idle);
  const stream = client.stream();
  const { ended: left } = answersOf(stream);
  stream.write(long);
  await until('its job to run', () => jobsOf(running).running === 1);
  stream.cancel();
  t.is(await left, 'CANCELLED');
  await until('its job to end', idle);
  t.like(jobsOf(running), { done, aborted: aborted + 2 });
  await untilPending(running, 0);
});

test.serial('tokens guard all but health', async (t) => {
  await using running = await startServer({ ...small, tokens: ['correct horse', 'another one'] });
  using client = clientOf(running);
  const bearer = (token: string) => ({ metadata: { authorization: `Bearer ${token}` } });
  for (const method of ['ModelInfer', 'ServerMetadata', 'RepositoryIndex', 'ModelReady']) {
    const request = method === 'ModelInfer' ? image() : { name: 'lite' };
    for (const options of [{}, bearer('wrong'), { metadata: { authorization: 'correct horse' } }]) {
      const { status, code } = await client.call(method, request, options);
      t.deepEqual([status, code], ['UNAUTHENTICATED', 'ERR_INVALID_REQUEST'], method);
    }
    t.is((await client.call(method, request, bearer('another one'))).status, 'OK', method);
  }
  const { ended } = answersOf(client.stream());
  t.is(await ended, 'UNAUTHENTICATED');
  t.is((await client.call('ServerReady')).status, 'OK');
  using checks = clientOf(running, {}, health);
  t.deepEqual((await checks.call('Check')).response, { status: 'SERVING' });
});

test.serial('a rate limit counts calls with the requests of HTTP', async (t) => {
  await using running = await startServer({ ...small, rateLimit: { max: 4, timeWindowMs: 60_000 } });
  using client = clientOf(running);
  t.is((await running.get('/v1/models')).status, 200);
  const statuses: string[] = [];
  for (let index = 0; index < 4; index++) statuses.push((await client.call('ServerMetadata')).status);
  t.deepEqual(statuses, ['OK', 'OK', 'OK', 'RESOURCE_EXHAUSTED']);
  t.is((await running.get('/v1/models')).status, 429);
  t.is((await client.call('ServerLive')).status, 'OK');
});

test.serial('under memory pressure calls are refused, health is not', async (t) => {
  await using running = await startServer({ ...small, maxRssBytes: 1024 ** 2 });
  using client = clientOf(running);
  await until('the pressure to be seen', async () => {
    const { status, details } = await client.call('ModelInfer', image());
    return status === 'UNAVAILABLE' && /under pressure/.test(details);
  });
  t.is((await client.call('ServerLive')).status, 'OK');
});

test.serial('messages are bounded, also where they are compressed', async (t) => {
  await using running = await startServer({ ...small, maxBodyBytes: 100_000 });
  const large = { ...image(), raw_input_contents: [Buffer.alloc(150_000)] };
  for (const compression of [
    compressionAlgorithms.identity,
    compressionAlgorithms.gzip,
    compressionAlgorithms.deflate,
  ]) {
    using client = clientOf(running, { 'grpc.default_compression_algorithm': compression });
    t.is((await client.call('ModelInfer', large)).status, 'RESOURCE_EXHAUSTED');
    t.is((await client.call('ModelInfer', image())).status, 'OK', 'compression is understood');
  }
  await untilPending(running, 0);
  t.true(gzipSync(Buffer.alloc(50_000_000)).length < 100_000, 'small on the wire');
  using client = clientOf(running, { 'grpc.default_compression_algorithm': compressionAlgorithms.gzip });
  const bomb = { ...image(), raw_input_contents: [Buffer.alloc(50_000_000)] };
  t.is((await client.call('ModelInfer', bomb)).status, 'RESOURCE_EXHAUSTED');
});

test.serial('a message that trickles in is given up', async (t) => {
  await using running = await startServer({ ...small, deadlineMs: 500 });
  const held = ['ModelInfer', 'ModelReady'].map((method) =>
    holdCall(String(running.server.gradcamGrpc?.address), method, Buffer.alloc(1000)),
  );
  for (const call of held) {
    const told = await call.ended;
    t.like(told, { 'grpc-status': '4', 'gradcam-code': 'ERR_DEADLINE_EXCEEDED' });
    call.close();
  }
  await untilPending(running, 0);
});

test.serial('only as many messages are received at once as have room; the others wait', async (t) => {
  await using running = await startServer({ ...small, maxPendingBytes: 150_000, maxBodyBytes: 100_000 });
  const address = String(running.server.gradcamGrpc?.address);
  using client = clientOf(running);
  const first = holdCall(address, 'ModelInfer', Buffer.alloc(50_000));
  await untilPending(running, 1);
  let answered = false;
  const second = client.call('ModelInfer', image()).finally(() => {
    answered = true;
  });
  await untilPending(running, 2);
  // What needs no room in the queue is answered before, and on the same connection.
  t.is((await client.call('ModelReady', { name: 'lite' })).status, 'OK');
  t.false(answered);
  first.finish();
  t.is((await first.ended)['gradcam-code'], 'ERR_INVALID_REQUEST');
  t.is((await second).status, 'OK');
  const third = holdCall(address, 'ModelInfer', Buffer.alloc(50_000));
  await untilPending(running, 1);
  const fourth = client.call('ModelInfer', image());
  third.close();
  t.is((await fourth).status, 'OK', 'a client that goes makes room, too');
  first.close();
});

test.serial('close() answers what was accepted, and cuts streams off behind it', async (t) => {
  const running = await startServer(small);
  const address = String(running.server.gradcamGrpc?.address);
  using client = clientOf(running);
  using checks = clientOf(running, {}, health);
  await using executor = await holdExecutor();
  const idle = answersOf(client.stream());
  const watched = answersOf(checks.watch(''));
  await until('the health to be told', () => watched.answers.length === 1);
  const stream = client.stream();
  const streamed = answersOf(stream);
  stream.write({ ...image(), id: 'before' });
  const calls = [1, 2, 3].map((seed) => client.call('ModelInfer', image(seed)));
  await untilPending(running, 4);
  const silent = connectSocket(Number(address.split(':')[1]), '127.0.0.1');
  await once(silent, 'connect');
  const closed = running.server.close();
  await until('no more connections to be taken', async () => {
    using other = grpcClient(address);
    return (await other.call('ServerLive', {}, { deadline: 60_000 })).status === 'UNAVAILABLE';
  });
  t.is((await client.call('ModelInfer', image())).status, 'UNAVAILABLE');
  t.is(await idle.ended, 'UNAVAILABLE');
  t.is(await watched.ended, 'UNAVAILABLE');
  t.deepEqual(
    watched.answers.map(({ status }) => status),
    ['SERVING', 'NOT_SERVING'],
  );
  await executor.release();
  for (const { status } of await Promise.all(calls)) t.is(status, 'OK');
  t.is(await streamed.ended, 'UNAVAILABLE');
  t.deepEqual(
    streamed.answers.map(({ error_message, infer_response: { id } }) => [error_message, id]),
    [['', 'before']],
  );
  await closed;
});

test.serial('health tells whether models are ready, and changes', async (t) => {
  await using running = await startServer({ models: { lite: 'none.pt' }, grpcPort: 0 }, { wait: false });
  using checks = clientOf(running, {}, health);
  using client = clientOf(running);
  const check = async (service: string) => {
    const { status, response } = await checks.call('Check', { service });
    return response?.status ?? status;
  };
  t.is(await check('liveness'), 'SERVING');
  for (const service of ['', 'readiness', 'inference.GRPCInferenceService'])
    t.is(await check(service), 'NOT_SERVING', service);
  t.is(await check('nothing'), 'NOT_FOUND');
  t.deepEqual((await client.call('ServerReady')).response, { ready: false });
  t.deepEqual((await client.call('ModelReady', { name: 'lite' })).response, { ready: false });
  t.is((await client.call('ModelReady', { name: 'other' })).status, 'NOT_FOUND');
  const { code, status } = await client.call('ModelInfer', image());
  t.deepEqual([status, code], ['UNAVAILABLE', 'ERR_MODEL_NOT_READY']);
  const unknown = answersOf(checks.watch('nothing'));
  await until('an answer', () => unknown.answers.length === 1);
  t.is(unknown.answers[0].status, 'SERVICE_UNKNOWN');
});

test.serial('models are loaded and unloaded by Triton’s clients and by KServe’s', async (t) => {
  await using running = await startServer({ ...small, modelControl: true, insecure: true });
  using client = clientOf(running);
  const ready = async () => (await client.call('ModelReady', { name: 'lite' })).response.ready as boolean;
  t.deepEqual((await client.call('RepositoryModelUnload', { model_name: 'lite' })).response, {
    model_name: 'lite',
    isUnloaded: true,
  });
  t.false(await ready());
  // KServe's first field is the model's name.
  t.is((await client.call('RepositoryModelLoad', { repository_name: 'lite' })).status, 'OK');
  t.true(await ready());
  const { response } = await client.call('RepositoryIndex', { ready: true });
  t.deepEqual(response.models, [{ name: 'lite', version: '2', state: 'READY', reason: '' }]);
  t.is((await client.call('RepositoryModelLoad', { model_name: 'none' })).code, 'ERR_UNKNOWN_MODEL');
  const configured = { model_name: 'lite', parameters: { config: { string_param: '{}' } } };
  t.is((await client.call('RepositoryModelLoad', configured)).code, 'ERR_UNSUPPORTED');
});

test.serial('calls are counted under the usual names, and told in the log', async (t) => {
  const lines: Message[] = [];
  const stream = { write: (line: string) => lines.push(JSON.parse(line)) };
  await using running = await startServer({ ...small, logger: { level: 'info', stream } });
  using client = clientOf(running);
  const metadata = { 'x-request-id': 'mine-7' };
  await client.call('ModelInfer', image(), { metadata });
  await client.call('ModelInfer', { ...image(), model_name: 'other' });
  await client.call('ServerLive');
  await until('all to be told', () => lines.filter(({ msg }) => msg === 'answered').length === 2);
  t.like(
    lines.find(({ request_id, msg }) => request_id === 'mine-7' && msg === 'answered'),
    { method: 'gRPC', url: '/inference.GRPCInferenceService/ModelInfer', grpc_status: 'OK' },
  );
  const text = await (await running.get('/metrics')).text();
  const handled = (method: string, code: string) =>
    `grpc_server_handled_total{grpc_type="unary",grpc_service="inference.GRPCInferenceService",grpc_method="${method}",grpc_code="${code}"} 1`;
  for (const line of [
    handled('ModelInfer', 'OK'),
    handled('ModelInfer', 'NOT_FOUND'),
    handled('ServerLive', 'OK'),
  ])
    t.true(text.includes(line), line);
  t.regex(text, /^nv_inference_request_success\{model="lite",version="1"\} 1$/m);
  t.regex(text, /^request_preprocess_seconds_count\{model_name="lite"\} \d$/m);
});

test.serial('a port that is taken ends the start', async (t) => {
  await using running = await startServer(small);
  const port = Number(running.server.gradcamGrpc?.address?.split(':')[1]);
  const second = createServer({ models: { lite: tiny }, grpcPort: port });
  await t.throwsAsync(second.listen({ port: 0 }), { code: 'EADDRINUSE' });
  await second.close();
  t.throws(() => createServer({ models: { lite: tiny }, grpcPort: 70_000 }), {
    code: 'ERR_SERVER_CONFIG',
    message: /grpcPort/,
  });
  const none = createServer({ models: { lite: tiny } });
  await none.ready();
  t.is(none.gradcamGrpc, null);
  await none.close();
});
