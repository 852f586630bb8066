// Explain any number you can compute of the output: here what makes it a tiger cat rather than a tabby. A target is a
// function over Tensor's operations, which LibTorch differentiates.
// Run with: node dist/examples/custom-target.js [picture.png]
import { GradCAM, loadModelWithSidecar, showCamOnImage, sideBySide, type TargetFunction } from 'node-gradcam';

const [output = 'output/custom-target.png'] = process.argv.slice(2);
await using described = await loadModelWithSidecar('examples/models/efficientnet_lite0.pt');
const image = await described.loadImage('examples/photos/chelsea.png');
const [tabby, tigerCat] = ['tabby', 'tiger cat'].map((name) => described.findClass(name)) as [number, number];

// What a target gets is the output of one image, without the batch: the logits, [classes].
const alone: TargetFunction = (logits) => logits.select(0, tigerCat);
const rather: TargetFunction = (logits) => logits.select(0, tigerCat).sub(logits.select(0, tabby));
const cam = new GradCAM(described.camOptions);
using explanation = await cam.explain(image.tensor, { targets: [[alone, rather]] });

const captions = ['tiger cat', 'tiger cat, not tabby'];
const panels = captions.map((name, index) => ({
  picture: showCamOnImage(image, explanation.heatmaps.at(index)),
  caption: `${name}: ${explanation.scores[index]?.toFixed(2)}`,
}));
await (await sideBySide(panels)).toFile(output);
console.log(`${output}: ${panels.map(({ caption }) => caption).join('; ')}`);
