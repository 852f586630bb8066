import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { noise } from './fixtures.js';
import { binaryInference, type RunningServer } from './server.js';

/** An explain of noise, in the Open Inference Protocol; the seed is also the class. */
export const image = (seed: number): ReturnType<typeof binaryInference> =>
  binaryInference(
    {
      inputs: [{ name: 'input', shape: [1, 3, 224, 224], datatype: 'FP32' }],
      parameters: { class: seed, binary_data_output: true },
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
/** A figure of `/metrics`; NaN where there is none. */
export async function metric(running: RunningServer, line: RegExp): Promise<number> {
  const found = line.exec(await (await running.get('/metrics')).text());
  return found ? Number(found[1]) : Number.NaN;
}
export async function eventually(
  t: ExecutionContext,
  what: string,
  condition: () => Promise<boolean> | boolean,
  ms = 15_000,
): Promise<void> {
  const end = performance.now() + ms;
  while (!(await condition())) {
    if (performance.now() > end) {
      t.fail(`not in time: ${what}`);
      return;
    }
    await sleep(25);
  }
  t.pass();
}
