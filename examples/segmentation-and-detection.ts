// What a segmentation model sees as a category, why a detector put a box where it did, and a head like YOLO's: the code of
// docs/segmentation-and-detection.md. The models are small and untrained, so that the pictures show how, not what.
// Run with: node dist/examples/segmentation-and-detection.js [output folder]
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  categoryMask,
  detectedBoxes,
  EigenCAM,
  FasterRCNNBoxScoreTarget,
  GradCAM,
  GradCamError,
  loadImage,
  loadModel,
  type ModelOutput,
  presentCategories,
  SemanticSegmentationTarget,
  showCamOnImage,
  sideBySide,
  type Tensor,
  TorchScriptTarget,
} from 'node-gradcam';

const folder = process.argv[2] ?? 'output';
const models = 'test/fixtures/detection';
const photo = 'examples/photos/chelsea.png';
await mkdir(folder, { recursive: true });

async function segmentation() {
  await using model = await loadModel(`${models}/fcn.pt`);
  const image = await loadImage(photo, { size: 224 });
  const { out } = (await model.forward(image.tensor)) as { out: Tensor };
  const categories = presentCategories(out).slice(0, 3);
  const targets = categories.map(
    ({ category }) => new SemanticSegmentationTarget(category, categoryMask(out, category)),
  );
  const cam = new GradCAM({ model, targetLayers: 'backbone.layer4', output: 'out' });
  using explanation = await cam.explain(image.tensor, { targets: [targets] });
  const panels = categories.map(({ category, pixels }, index) => ({
    picture: showCamOnImage(image, explanation.heatmaps.at(index)),
    caption: `category ${category}, ${pixels} pixels`,
  }));
  await (await sideBySide(panels)).toFile(join(folder, 'segmentation.png'));
  console.log(`segmentation.png: categories ${categories.map(({ category }) => category).join(', ')}`);
}

async function detection() {
  await using model = await loadModel(`${models}/faster_rcnn.pt`);
  // Detectors normalise by themselves: give them 0 to 1.
  const image = await loadImage(photo, {
    size: { width: 192, height: 128 },
    mean: [0, 0, 0],
    std: [1, 1, 1],
  });
  const [, detections] = (await model.forward(image.tensor)) as [ModelOutput, ModelOutput[]];
  const boxes = detectedBoxes(detections[0], { minScore: 0.3 });
  // Without targetLayers the feature pyramid is taken: the layer 'backbone'.
  const options = { model, output: 1 } as const;
  const targets = FasterRCNNBoxScoreTarget.of(boxes);
  using eigen = await new EigenCAM(options).explain(image.tensor, { targets });
  using grad = await new GradCAM(options).explain(image.tensor, { targets });
  const panels = [
    { picture: showCamOnImage(image, eigen.heatmaps.at(0)), caption: 'EigenCAM' },
    { picture: showCamOnImage(image, grad.heatmaps.at(0)), caption: `GradCAM, ${boxes.length} boxes` },
  ];
  await (await sideBySide(panels)).toFile(join(folder, 'detection.png'));
  console.log(`detection.png: ${boxes.length} boxes, at ${grad.layers[0]?.path}`);
}

async function yolo() {
  await using model = await loadModel(`${models}/yolo.pt`);
  const image = await loadImage(photo, { size: 160 });
  const target = await TorchScriptTarget.load(`${models}/best_boxes.pt`);
  using explanation = await new GradCAM({ model, targetLayers: 'body.layer4' }).explain(image.tensor, {
    targets: target,
  });
  await showCamOnImage(image, explanation.heatmaps.at(0)).toFile(join(folder, 'yolo.png'));
  console.log(`yolo.png: score ${explanation.scores[0]?.toFixed(3)}`);
}

await segmentation();
try {
  await detection();
} catch (error) {
  // torchvision's operators are not there: the message says how to get them.
  if (!(error instanceof GradCamError && error.code === 'ERR_MISSING_OPERATOR')) throw error;
  console.log(`detection left out. ${error.message}`);
}
await yolo();
