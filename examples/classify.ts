// What does the model see, and what speaks for each of its guesses? The three likeliest classes, from one forward.
// Run with: node dist/examples/classify.js [model.pt] [photo.jpg] [picture.png]
import {
  GradCAM,
  loadModelWithSidecar,
  showCamOnImage,
  sideBySide,
  type Tensor,
  TopClassTarget,
} from 'node-gradcam';

const [
  modelPath = 'examples/models/efficientnet_lite0.pt',
  photo = 'examples/photos/chelsea.png',
  output = 'output/classify.png',
] = process.argv.slice(2);

await using described = await loadModelWithSidecar(modelPath); // model.json: preprocessing and labels
const image = await described.loadImage(photo);

const cam = new GradCAM(described.camOptions);
// An array in the array: several targets of one image, not one target for each of several images.
const targets = [[new TopClassTarget(0), new TopClassTarget(1), new TopClassTarget(2)]];
using explanation = await cam.explain(image.tensor, { targets });

const probabilities = softmax((explanation.outputs as Tensor).at(0).toTypedArray() as Float32Array);
const panels = explanation.maps.map(({ classIndex }, index) => {
  const name = described.labels?.[classIndex ?? -1] ?? `class ${classIndex}`;
  const percent = ((probabilities[classIndex ?? -1] ?? 0) * 100).toFixed(1);
  return { picture: showCamOnImage(image, explanation.heatmaps.at(index)), caption: `${name} ${percent}%` };
});
await (await sideBySide([{ picture: image, caption: 'the photo' }, ...panels])).toFile(output);
console.log(`${output}: ${panels.map(({ caption }) => caption).join(', ')}`);

function softmax(logits: Float32Array): number[] {
  const highest = Math.max(...logits);
  const exponentials = Array.from(logits, (value) => Math.exp(value - highest));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}
