// A vision transformer by several methods. Its layers give tokens, not maps: the reshape transform lays them out again.
// The default model is small and untrained; exporting/export_model.py exports real ones with the sidecar used here.
// Run with: node dist/examples/vit.js [vit.pt] [photo.jpg] [picture.png]
import { compareMethods, loadModelWithSidecar, showCamOnImage, sideBySide } from 'node-gradcam';

const [
  modelPath = 'test/fixtures/transformers/timm-deit-distilled.pt',
  photo = 'examples/photos/chelsea.png',
  output = 'output/vit.png',
] = process.argv.slice(2);

await using described = await loadModelWithSidecar(modelPath);
const image = await described.loadImage(photo);

// The sidecar names the layer before the last attention, and how many tokens stand before those of the picture.
const options = { ...described.camOptions, methods: ['gradcam', 'layercam', 'eigencam', 'legrad'] as const };
const explanations = await compareMethods(options, image.tensor);
const panels = [...explanations].map(([name, { heatmaps }]) => ({
  picture: showCamOnImage(image, heatmaps.at(0)),
  caption: name,
}));
await (await sideBySide(panels)).toFile(output);
console.log(`${output}: ${panels.length} methods at ${described.sidecar.layer}`);
