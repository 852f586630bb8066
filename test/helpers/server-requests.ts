import { request } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { noise } from './fixtures.js';
import { binaryInference, type RunningServer } from './server.js';
import { until } from './until.js';

interface Body {
  readonly body: Buffer;
  readonly headers: Record<string, string>;
}

/** An explain of noise, in the Open Inference Protocol; the seed decides the class, too: one of the five there always are. */
export const image = (seed: number): Body =>
  binaryInference(
    {
      inputs: [{ name: 'input', shape: [1, 3, 224, 224], datatype: 'FP32' }],
      parameters: { class: seed % 5, binary_data_output: true },
      outputs: [{ name: 'heatmap' }],
    },
    noise(3 * 224 * 224, seed),
  );

/** The whole answer: one that is not read keeps its connection. */
export const infer = async (running: RunningServer, seed: number, model = 'lite'): Promise<Response> => {
  const { body, headers } = image(seed);
  const response = await running.post(`/v2/models/${model}/infer`, body, headers);
  return new Response(await response.arrayBuffer(), response);
};

/** A form as it goes over the network. */
export async function formOf(file: Uint8Array<ArrayBuffer>): Promise<Body> {
  const form = new FormData();
  form.append('image', new Blob([file]), 'image.png');
  const encoded = new Response(form);
  return {
    body: Buffer.from(await encoded.arrayBuffer()),
    headers: { 'content-type': encoded.headers.get('content-type') ?? '' },
  };
}

export interface HeldRequest {
  /** Sends the rest, and resolves with the answer. */
  finish(): Promise<Response>;
  /** Closes its connection instead. */
  destroy(): void;
}

/** A request on a connection of its own, of which the server gets the second half of the body when the test wants. */
export function holdRequest(url: string, path: string, { body, headers }: Body): HeldRequest {
  const half = body.length >> 1;
  const held = request(url + path, {
    method: 'POST',
    agent: false,
    headers: { ...headers, 'content-length': body.length },
  });
  const answer = new Promise<Response>((resolve, reject) => {
    held.once('error', reject).once('response', (response) => {
      const { statusCode: status = 0, headers: told } = response;
      buffer(response).then(
        (bytes) =>
          resolve(new Response(new Uint8Array(bytes), { status, headers: told as Record<string, string> })),
        reject,
      );
    });
  });
  answer.catch(() => {});
  held.write(body.subarray(0, half));
  return {
    finish: () => {
      held.end(body.subarray(half));
      return answer;
    },
    destroy: () => held.destroy(),
  };
}

/** A figure of `/metrics`; NaN where there is none. */
export async function metric(running: Pick<RunningServer, 'get'>, line: RegExp): Promise<number> {
  const found = line.exec(await (await running.get('/metrics')).text());
  return found ? Number(found[1]) : Number.NaN;
}

/** Resolves when so many requests are on their way through the server. */
export async function untilPending(running: Pick<RunningServer, 'get'>, count: number): Promise<void> {
  const pending = /^nv_inference_pending_request_count (\d+)/m;
  await until(`${count} requests to be pending`, async () => (await metric(running, pending)) === count);
}

/** The jobs of a served model, as they are now. */
export const jobsOf = ({ server }: RunningServer, model = 'lite') =>
  server.gradcamModels.get(model).model.stats().jobs;
