// Methods times classes, as a table. The methods share one forward and one walk back for each class.
// Run with: node dist/examples/compare-methods.js [picture.png]
import {
  ClassifierOutputTarget,
  compareMethods,
  loadModelWithSidecar,
  type MethodName,
  pictureGrid,
  showCamOnImage,
} from 'node-gradcam';

const [output = 'output/compare-methods.png'] = process.argv.slice(2);
const methods: MethodName[] = ['gradcam', 'gradcam++', 'layercam', 'finercam'];
const classes = ['tabby', 'tiger cat', 'lynx'];

await using described = await loadModelWithSidecar('examples/models/efficientnet_lite0.pt');
const image = await described.loadImage('examples/photos/chelsea.png');
const targets = [classes.map((name) => new ClassifierOutputTarget(described.findClass(name)))];
const explanations = await compareMethods({ ...described.camOptions, methods }, image.tensor, { targets });

const rows = [...explanations.values()].map(({ heatmaps }) =>
  classes.map((_, index) => showCamOnImage(image, heatmaps.at(index))),
);
await (await pictureGrid({ rows: methods, columns: classes, pictures: rows })).toFile(output);
console.log(`${output}: ${methods.length} methods x ${classes.length} classes`);
