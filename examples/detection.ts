// Why did a detector put its boxes there? The default model is small and untrained: give it torchvision's Faster R-CNN,
// scripted. Its operators (torchvision::nms) come with: node scripts/fetch-torchvision.mjs
// Run with: node dist/examples/detection.js [fasterrcnn.pt] [photo.jpg] [picture.png]
import {
  detectedBoxes,
  EigenCAM,
  FasterRCNNBoxScoreTarget,
  GradCAM,
  loadImage,
  loadModel,
  type ModelOutput,
  showBoxesOnImage,
  showCamOnImage,
  sideBySide,
} from 'node-gradcam';

const [
  modelPath = 'test/fixtures/detection/faster_rcnn.pt',
  photo = 'examples/photos/chelsea.png',
  output = 'output/detection.png',
] = process.argv.slice(2);

await using model = await loadModel(modelPath);
// torchvision's detectors normalise by themselves: give them 0 to 1.
const image = await loadImage(photo, { size: { width: 192, height: 128 }, mean: [0, 0, 0], std: [1, 1, 1] });
const [, detections] = (await model.forward(image.tensor)) as [ModelOutput, ModelOutput[]];
const boxes = detectedBoxes(detections[0], { minScore: 0.3 });
if (boxes.length === 0) throw new Error('The model sees nothing in this photo.');

// Without targetLayers the feature pyramid is taken: the layer 'backbone'.
const options = { model, output: 1 } as const;
const targets = FasterRCNNBoxScoreTarget.of(boxes);
using eigen = await new EigenCAM(options).explain(image.tensor, { targets });
using grad = await new GradCAM(options).explain(image.tensor, { targets });
const panels = [
  {
    picture: await showBoxesOnImage(
      image,
      boxes.map(({ box }) => box),
    ),
    caption: `${boxes.length} boxes`,
  },
  { picture: showCamOnImage(image, eigen.heatmaps.at(0)), caption: 'EigenCAM' },
  { picture: showCamOnImage(image, grad.heatmaps.at(0)), caption: 'GradCAM' },
];
await (await sideBySide(panels)).toFile(output);
console.log(`${output}: ${boxes.length} boxes, at ${grad.layers[0]?.path}`);
