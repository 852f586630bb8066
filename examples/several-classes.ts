// Two classes of one photo from one forward, side by side: what makes it a tabby, and what a tiger cat?
// Run with: node dist/examples/several-classes.js [output.png]
import {
  ClassifierOutputTarget,
  findClass,
  GradCAM,
  imageOptions,
  loadImage,
  loadModel,
  loadSidecar,
  showCamOnImage,
  sideBySide,
} from 'node-gradcam';

const modelPath = 'examples/models/efficientnet_lite0.pt';
const names = ['tabby', 'tiger cat'];

const sidecar = await loadSidecar(modelPath);
if (!sidecar) throw new Error(`There is no sidecar beside ${modelPath}.`);
await using model = await loadModel(modelPath);
const image = await loadImage('examples/photos/chelsea.png', imageOptions(sidecar));

const classes = names.map((name) => new ClassifierOutputTarget(findClass(sidecar.labels, name)));
// An array in the array: several targets of one image, not one target for each of several images.
using explanation = await new GradCAM({ model }).explain(image.tensor, { targets: [classes] });

const panels = explanation.maps.map(({ score }, index) => ({
  picture: showCamOnImage(image, explanation.heatmaps.at(index)),
  caption: `${names[index]} (output ${score.toFixed(2)})`,
}));
const picture = await sideBySide(panels);
const outputPath = process.argv[2] ?? 'output/several-classes.png';
await picture.toFile(outputPath);
console.log(`${outputPath}: ${panels.map(({ caption }) => caption).join(', ')}`);
