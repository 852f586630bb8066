import test, { type ExecutionContext } from 'ava';
import type { CreateServerOptions } from 'node-gradcam/server';
import { fixturePath } from './root.js';
import { binaryInference, type RunningServer, startServer } from './server.js';
import { untilPending } from './server-requests.js';

// A server that is sent whatever comes over the network. `seed` and `path` of a failure reproduce it; GRADCAM_FUZZ_RUNS makes
// more of it.

export const runs = {
  numRuns: Number(process.env.GRADCAM_FUZZ_RUNS ?? 60),
  seed: Number(process.env.GRADCAM_FUZZ_SEED ?? 20_260_801),
};

export const tiny: string = fixturePath('scripted.pt');

/** Starts it before the tests of a file. After each of them it must still serve. */
export function fuzzedServer(options: Partial<CreateServerOptions> = {}): () => RunningServer {
  let running: RunningServer;
  test.before(async () => {
    running = await startServer({
      models: { tiny },
      modelControl: true,
      insecure: true,
      maxBodyBytes: 2_000_000,
      maxImagePixels: 1_000_000,
      maxBatch: 1,
      ...options,
    });
  });
  test.afterEach.always('the server still serves', async (t) => {
    const image = {
      inputs: [{ name: 'x', shape: [1, 3, 16, 16], datatype: 'FP32' }],
      outputs: [{ name: 'heatmap' }],
    };
    const { body, headers } = binaryInference(image, new Float32Array(3 * 16 * 16).fill(0.5));
    const answer = await running.post('/v2/models/tiny/infer', body, headers);
    t.is(answer.status, 200, await answer.text());
    await untilPending(running, 0);
  });
  test.after.always(async () => {
    await running.server.close();
  });
  return () => running;
}

/** What is wrong with an answer to something that cannot be answered; null where nothing is. */
export async function complaint(answer: Response): Promise<string | null> {
  const text = await answer.text();
  const told = `${answer.status} ${text.slice(0, 300)}`;
  if (answer.status < 400 || answer.status === 500) return told;
  try {
    const { error, code } = JSON.parse(text) as { error: unknown; code: unknown };
    if (typeof error !== 'string' || typeof code !== 'string' || !/^ERR_/.test(code)) return told;
  } catch {
    return told;
  }
  return /node_modules|\.js:\d|\n +at |\/dist\/|aten::|\.cpp/.test(text) ? told : null;
}

export async function refused(t: ExecutionContext, answer: Response): Promise<void> {
  t.is(await complaint(answer), null);
}
