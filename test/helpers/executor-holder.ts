import { parentPort, workerData } from 'node:worker_threads';
import { GradCAM, loadModel, type Tensor } from 'node-gradcam';
import { noise } from './fixtures.js';
import { fixturePath } from './root.js';

// The worker thread of hold-executor.ts.

const gate = workerData as Int32Array;
await using model = await loadModel(fixturePath('scripted.pt'));
const targets = (output: Tensor) => {
  parentPort?.postMessage('held');
  Atomics.wait(gate, 0, 0);
  return output.select(0, 0);
};
const input = { data: noise(3 * 24 * 24), shape: [1, 3, 24, 24] };
using _ = await new GradCAM({ model, targetLayers: 'layer2' }).explain(input, { targets });
