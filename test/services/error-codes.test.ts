import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type ExplainErrorMessage, GradCamError } from 'node-gradcam';
import { batchStatus, collectManifest, submitBatch } from 'node-gradcam/batch';
import { createServer } from 'node-gradcam/server';
import { makePictures, modelPath, newQueue, submission, withRedis, workUntilDone } from '../helpers/batch.js';
import { holdExecutor } from '../helpers/hold-executor.js';
import { messagesOf } from '../helpers/messages.js';
import { rawRequest } from '../helpers/raw-request.js';
import { fixturePath } from '../helpers/root.js';
import { photo, type RunningServer, startServer } from '../helpers/server.js';
import type { ServiceCode } from '../helpers/service-codes.js';
import { until } from '../helpers/until.js';

// The codes of the server and of batches, each raised: the rows that test/errors/codes.test.ts does not have.

type HttpCode = Extract<
  ServiceCode,
  | 'ERR_INVALID_REQUEST'
  | 'ERR_NOT_FOUND'
  | 'ERR_METHOD_NOT_ALLOWED'
  | 'ERR_UNKNOWN_MODEL'
  | 'ERR_MODEL_CONTROL'
  | 'ERR_HOST_NOT_ALLOWED'
  | 'ERR_ORIGIN_NOT_ALLOWED'
  | 'ERR_RATE_LIMITED'
  | 'ERR_DEADLINE_EXCEEDED'
>;
type BatchCode = Extract<ServiceCode, 'ERR_BATCH_CHANGED' | 'ERR_BATCH_MODEL' | 'ERR_BATCH_VERSION'>;
type OtherCode = Exclude<ServiceCode, HttpCode | BatchCode>;

const answers: Record<
  HttpCode,
  readonly [status: number, ask: (running: RunningServer) => Promise<Response>]
> = {
  ERR_INVALID_REQUEST: [400, ({ post }) => post('/v1/models/lite:explain', { instances: 7 })],
  ERR_NOT_FOUND: [404, ({ get }) => get('/v3/models')],
  ERR_METHOD_NOT_ALLOWED: [405, ({ post }) => post('/v1/models', {})],
  ERR_UNKNOWN_MODEL: [404, ({ post }) => post('/explain/none', photo)],
  ERR_MODEL_CONTROL: [403, ({ post }) => post('/v2/repository/models/lite/load', {})],
  ERR_HOST_NOT_ALLOWED: [
    403,
    async ({ url }) => {
      const { status, text } = await rawRequest(url, '/v2', { headers: { host: 'evil.example' } });
      return new Response(text, { status });
    },
  ],
  ERR_RATE_LIMITED: [
    429,
    async () => {
      const options = { models: { lite: modelPath }, rateLimit: { max: 1 } };
      await using limited = await startServer(options, { wait: false });
      await limited.get('/v1/models');
      const refused = await limited.get('/v1/models');
      return new Response(await refused.text(), refused);
    },
  ],
  ERR_ORIGIN_NOT_ALLOWED: [
    403,
    ({ post }) => post('/explain/lite', photo, { origin: 'https://evil.example' }),
  ],
  ERR_DEADLINE_EXCEEDED: [504, ({ post }) => post('/explain/lite?deadline_ms=40', photo)],
};

let running: RunningServer;
test.before(async () => {
  running = await startServer({ models: { lite: modelPath }, maxBatch: 1 });
});
test.after.always(() => running.server.close());

for (const [code, [status, ask]] of Object.entries(answers)) {
  test.serial(`EXPECTED FAILURE - ${code} is answered with ${status}`, async (t) => {
    await using _ = await holdExecutor(); // What reaches a model waits.
    const response = await ask(running);
    t.is(response.status, status);
    t.like(await response.json(), { code });
  });
}

const changes: Record<BatchCode, (specification: string, model: string) => Promise<unknown>> = {
  ERR_BATCH_MODEL: (_, model) => copyFile(fixturePath('traced.pt'), model),
  ERR_BATCH_VERSION: async (path) =>
    writeFile(path, (await readFile(path, 'utf8')).replace(/"version": "[^"]+"/, '"version": "0.0.1"')),
  ERR_BATCH_CHANGED: (path) => writeFile(path, '{'),
};

for (const [code, change] of Object.entries(changes)) {
  withRedis(`EXPECTED FAILURE - ${code} is raised`, async (t) => {
    const { root } = await makePictures(1);
    const { address } = newQueue();
    const model = join(root, 'model.pt');
    await copyFile(modelPath, model);
    const { batch } = await submitBatch(submission(root, address, { model }));
    await change(join(root, 'out', 'batches', batch, 'batch.json'), model);
    // A batch that was edited is marked as failed; the others end the worker, which must not lose them.
    const outcome = await workUntilDone(address).catch((error: unknown) => error);
    const { failedChunks } = await batchStatus(address);
    const told = outcome instanceof GradCamError ? outcome.code : failedChunks[0]?.reason;
    t.true(told?.includes(code), String(told));
  });
}

const others: Record<OtherCode, (t: ExecutionContext) => unknown> = {
  ERR_SERVER_CONFIG: () => createServer({ models: {}, port: -1 } as never),
  ERR_REDIS: () => batchStatus({ redis: 'redis://127.0.0.1:1' }),
  ERR_BATCH_FOLDER: () => collectManifest(join(fixturePath(''), 'there-is-none')),
  ERR_MODEL_NOT_READY: async () => {
    await using _ = await holdExecutor(); // Models are loaded by executors.
    await using early = await startServer({ models: { lite: modelPath } }, { wait: false });
    return early.server.gradcamModels.get('lite');
  },
  ERR_CLIENT_GONE: async (t) => {
    const started = messagesOf(t, 'gradcam:explain:start');
    const failed = messagesOf<ExplainErrorMessage>(t, 'gradcam:explain:error');
    await using _ = await holdExecutor();
    const client = new AbortController();
    const request = running.get('/explain/lite', {
      method: 'POST',
      body: new Uint8Array(photo),
      signal: client.signal,
    });
    request.catch(() => {});
    await until('the explain to start', () => started.length === 1);
    client.abort();
    throw await until('its failure', () => (failed[0]?.error as Error | undefined) ?? null);
  },
};

for (const [code, raise] of Object.entries(others)) {
  test.serial(`EXPECTED FAILURE - ${code} is raised`, async (t) => {
    await t.throwsAsync(async () => raise(t), { instanceOf: GradCamError, code });
  });
}
