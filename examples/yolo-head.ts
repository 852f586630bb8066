// A head like YOLO's gives one tensor, [boxes, 5 + classes] for each image. What is explained is said in TorchScript: the
// score of the best boxes of a class (docs/segmentation-and-detection.md has the Python).
// Run with: node dist/examples/yolo-head.js [picture.png]
import { GradCAM, loadImage, loadModel, showCamOnImage, TorchScriptTarget } from 'node-gradcam';

const [output = 'output/yolo-head.png'] = process.argv.slice(2);
await using model = await loadModel('test/fixtures/detection/yolo.pt'); // small and untrained
const target = await TorchScriptTarget.load('test/fixtures/detection/best_boxes.pt');
const image = await loadImage('examples/photos/chelsea.png', { size: 160 });
const cam = new GradCAM({ model, targetLayers: 'body.layer4' });
using explanation = await cam.explain(image.tensor, { targets: target });
await showCamOnImage(image, explanation.heatmaps.at(0)).toFile(output);
console.log(`${output}: score ${explanation.scores[0]?.toFixed(3)}`);
