// The shortest way from a model and a photo to a heatmap. Without arguments it explains the demo's cat.
// Run with: node dist/examples/quick-start.js [model.pt] [photo.jpg] [overlay.png]
import { GradCAM, imageOptions, loadImage, loadModel, loadSidecar, showCamOnImage } from 'node-gradcam';

const [modelPath, photoPath, overlayPath] = [
  process.argv[2] ?? 'examples/models/efficientnet_lite0.pt',
  process.argv[3] ?? 'examples/photos/chelsea.png',
  process.argv[4] ?? 'output/quick-start.png',
];

await using model = await loadModel(modelPath);
const sidecar = await loadSidecar(modelPath);
// Without a sidecar the picture is prepared as for torchvision's ImageNet models.
const image = await loadImage(photoPath, sidecar ? imageOptions(sidecar) : {});

const cam = new GradCAM({ model });
using explanation = await cam.explain(image.tensor);
await showCamOnImage(image, explanation.heatmaps.at(0)).toFile(overlayPath);

const [map] = explanation.maps;
const [layer] = explanation.layers;
const name = sidecar?.labels?.[map?.classIndex ?? -1] ?? `class ${map?.classIndex}`;
console.log(`${overlayPath}: what speaks for ${name} at ${layer?.path}`);
