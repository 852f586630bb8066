import test from 'ava';
import {
  AblationCAM,
  EigenCAM,
  GradCAM,
  GradCAMPlusPlus,
  HiResCAM,
  LayerCAM,
  loadModel,
  type Model,
  RandomCAM,
  setThreads,
  Tensor,
  threads,
  XGradCAM,
} from 'node-gradcam';
import { liteModel, noise } from '../helpers/fixtures.js';

// Same input, same bits: whoever else is explaining on the same model.

const callers = [
  { Method: GradCAM, targetLayers: '_conv_head', targets: 281 },
  { Method: GradCAMPlusPlus, targetLayers: '_blocks.15', targets: [[7, 8]] },
  { Method: HiResCAM, targetLayers: '_blocks.10', targets: 999 },
  { Method: LayerCAM, targetLayers: ['_blocks.4', '_blocks.12'], targets: 0 },
  { Method: XGradCAM, targetLayers: '_conv_head', targets: 3 },
  { Method: EigenCAM, targetLayers: '_blocks.8', targets: 5 },
  { Method: RandomCAM, targetLayers: '_conv_head', targets: 11 },
  { Method: AblationCAM, targetLayers: '_blocks.15._project_conv', targets: 2 },
] as const;

function image(seed: number): Tensor {
  return Tensor.from(noise(3 * 128 * 128, seed), [1, 3, 128, 128]);
}

/** The bits of one caller's map and outputs. */
async function bitsOf(model: Model, caller: (typeof callers)[number], seed: number): Promise<string> {
  const cam = new caller.Method({ model, targetLayers: caller.targetLayers });
  using explanation = await cam.explain(image(seed), { targets: caller.targets as never });
  const parts = [explanation.heatmaps, explanation.outputs as Tensor].map((tensor) => {
    const { buffer } = tensor.toTypedArray();
    return Buffer.from(buffer as ArrayBuffer).toString('base64');
  });
  return parts.join(' ');
}

test.serial(
  'eight callers with layers, methods and classes of their own get what each gets alone',
  async (t) => {
    const counts = threads();
    setThreads({ executors: 1 });
    const alone: string[] = [];
    await using model = await loadModel(liteModel);
    for (const [index, caller] of callers.entries()) alone.push(await bitsOf(model, caller, index));
    setThreads({ executors: 4 });
    t.teardown(() => setThreads(counts));
    for (let round = 0; round < 3; round++) {
      const together = await Promise.all(callers.map((caller, index) => bitsOf(model, caller, index)));
      for (const [index, bits] of together.entries())
        t.true(bits === alone[index], `${callers[index]?.Method.name}, round ${round}`);
    }
  },
);

test.serial('a model loaded again gives the same bits', async (t) => {
  const bits = new Set<string>();
  for (let round = 0; round < 3; round++) {
    await using model = await loadModel(liteModel);
    for (let call = 0; call < 3; call++) bits.add(await bitsOf(model, callers[0], 1));
  }
  t.is(bits.size, 1);
});
