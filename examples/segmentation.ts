// What makes a segmentation model see a category where it sees it? The default model is small and untrained: give it
// torchvision's DeepLabV3 or FCN.
// Run with: node dist/examples/segmentation.js [deeplabv3.pt] [photo.jpg] [picture.png] [size]
import {
  categoryMask,
  GradCAM,
  loadImage,
  loadModel,
  presentCategories,
  SemanticSegmentationTarget,
  showCamOnImage,
  showMaskOnImage,
  sideBySide,
  type Tensor,
} from 'node-gradcam';

const [
  modelPath = 'test/fixtures/detection/fcn.pt',
  photo = 'examples/photos/chelsea.png',
  output = 'output/segmentation.png',
  size = '224',
] = process.argv.slice(2);

await using model = await loadModel(modelPath);
const image = await loadImage(photo, { size: Number(size), resize: Number(size) });
const { out } = (await model.forward(image.tensor)) as { out: Tensor };

// The categories with most pixels, each explained in the pixels that the model itself gave to it.
const categories = presentCategories(out).slice(0, 2);
const masks = categories.map(({ category }) => categoryMask(out, category));
const targets = categories.map(
  ({ category }, index) => new SemanticSegmentationTarget(category, masks[index] as Tensor),
);
// The layer is suggested: the last one with a spatial map that the output depends on, here 'backbone.layer4'.
const cam = new GradCAM({ model, targetLayers: 'backbone.layer4', output: 'out' });
using explanation = await cam.explain(image.tensor, { targets: [targets] });

const panels = categories.flatMap(({ category, pixels }, index) => [
  { picture: showMaskOnImage(image, masks[index] as Tensor), caption: `${category}: ${pixels} pixels` },
  { picture: showCamOnImage(image, explanation.heatmaps.at(index)), caption: `what speaks for ${category}` },
]);
await (await sideBySide(panels, { columns: 2 })).toFile(output);
console.log(`${output}: categories ${categories.map(({ category }) => category).join(', ')}`);
