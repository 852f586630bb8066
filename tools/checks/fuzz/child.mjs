// Loads and runs the damaged files that its parent names, one after the other, and tells what became of each.
import { GradCAM, loadModel, Tensor } from 'node-gradcam';

const image = Tensor.from(new Float32Array(3 * 24 * 24).fill(0.5), [1, 3, 24, 24]);

async function use(path, tell) {
  const model = await loadModel(path);
  tell('run');
  try {
    await model.inspect(image);
    for (const targetLayers of [undefined, model.layers().at(0)?.path]) {
      const cam = new GradCAM({ model, ...(targetLayers ? { targetLayers } : {}) });
      (await cam.explain(image)).heatmaps.toTypedArray();
    }
  } finally {
    await model.dispose();
  }
}

process.on('message', async ({ path }) => {
  const tell = (stage) => process.send({ stage });
  tell('load');
  const before = process.memoryUsage.rss();
  try {
    await use(path, tell);
    process.send({ outcome: 'fine' });
  } catch (error) {
    process.send({
      grown: process.memoryUsage.rss() - before,
      outcome: error?.code ?? `no code: ${error?.name}`,
      message: String(error?.message).slice(0, 300),
    });
  }
});
process.send({ outcome: 'ready' });
