// The whole way: a real pretrained model, a real photo, a heatmap. Run with: npm run demo
import { fileURLToPath } from 'node:url';
import {
  findClass,
  GradCAM,
  imageOptions,
  loadImage,
  loadModel,
  loadSidecar,
  showCamOnImage,
  sideBySide,
  type Tensor,
} from 'node-gradcam';

const fileIn = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const modelPath = fileIn('examples/models/efficientnet_lite0.pt');
const photoPath = fileIn('examples/photos/chelsea.png');
const outputPath = fileIn('output/demo.png');

const times: [stage: string, milliseconds: number][] = [];
async function timed<T>(stage: string, work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await work();
  times.push([stage, performance.now() - start]);
  return result;
}

const sidecar = await loadSidecar(modelPath);
if (!sidecar?.labels) throw new Error('The demo model lost its sidecar.');
const { labels } = sidecar;
await using model = await timed('load the model', () => loadModel(modelPath));
const image = await timed('load the photo', () => loadImage(photoPath, imageOptions(sidecar)));

const cam = new GradCAM({ model });
const { path: layer, reason } = await timed('choose the layer', () => model.suggestLayer(image.tensor));
await timed('first explain', () => cam.explain(image.tensor));
const explanation = await timed('next explain', () => cam.explain(image.tensor));
const { forward, backward, cam: maps } = explanation.timings;
times.push(['  forward', forward], ['  backward', backward], ['  map', maps]);

const top = topClasses(explanation.outputs as Tensor, 5);
console.log(`\n${sidecar.name} sees:`);
for (const { index, probability } of top) {
  const bar = '#'.repeat(Math.round(probability * 40));
  console.log(
    `  ${`${(probability * 100).toFixed(1)}%`.padStart(6)}  ${(labels[index] ?? '').padEnd(20)} ${bar}`,
  );
}
console.log(`\nLayer: ${layer}, ${reason}`);

await timed('draw and write', async () => {
  const overlay = showCamOnImage(image, explanation.heatmaps.at(0));
  const label = labels[top[0]?.index ?? findClass(labels, 'tabby')];
  const picture = await sideBySide([
    { picture: image, caption: 'the photo' },
    { picture: overlay, caption: `what speaks for "${label}"` },
  ]);
  await picture.toFile(outputPath);
});

console.log('\nTimes:');
for (const [stage, milliseconds] of times)
  console.log(`  ${stage.padEnd(18)}${milliseconds.toFixed(1).padStart(8)} ms`);
console.log(`\nWritten: ${outputPath}`);

function topClasses(logits: Tensor, count: number): { index: number; probability: number }[] {
  const row = Array.from(logits.at(0).toTypedArray() as Float32Array);
  const highest = Math.max(...row);
  const exponentials = row.map((value) => Math.exp(value - highest));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  return exponentials
    .map((value, index) => ({ index, probability: value / sum }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, count);
}
