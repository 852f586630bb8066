// Every method on the demo's photo, in one picture. Run with: npm run examples:gallery
import { fileURLToPath } from 'node:url';
import * as gradcam from 'node-gradcam';
import sharp from 'sharp';

const fileIn = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const modelPath = fileIn('examples/models/efficientnet_lite0.pt');
const sidecar = await gradcam.loadSidecar(modelPath);
if (!sidecar) throw new Error('The demo model lost its sidecar.');
gradcam.setThreads({ intraOpThreads: 1 }); // so that the times depend less on what else the machine does
await using model = await gradcam.loadModel(modelPath);
const image = await gradcam.loadImage(fileIn('examples/photos/chelsea.png'), gradcam.imageOptions(sidecar));

const targetLayers = (await model.suggestLayer(image.tensor)).path;
const options = { model, targetLayers };
const cams: gradcam.BaseCAM[] = [
  new gradcam.GradCAM(options),
  new gradcam.GradCAMPlusPlus(options),
  new gradcam.SmoothGradCAMPlusPlus(options),
  new gradcam.XGradCAM(options),
  new gradcam.HiResCAM(options),
  new gradcam.GradCAMElementWise(options),
  new gradcam.LayerCAM(options),
  new gradcam.ShapleyCAM(options),
  new gradcam.FinerCAM(options),
  new gradcam.RefineCAM({ model, targetLayers: ['_blocks.10', targetLayers] }),
  new gradcam.EigenCAM(options),
  new gradcam.EigenGradCAM(options),
  new gradcam.SegEigenCAM(options),
  new gradcam.KPCACAM(options),
  new gradcam.FEM(options),
  new gradcam.FullGrad({ model }),
  new gradcam.AblationCAM({ ...options, ratioChannelsToAblate: 0.1 }),
  new gradcam.ScoreCAM(options),
  new gradcam.RandomCAM(options),
];

const panels: gradcam.Panel[] = [{ picture: image, caption: 'the photo' }];
for (const cam of cams) {
  const name = cam.constructor.name.replace('PlusPlus', '++');
  const onProgress = (done: number, total: number) => process.stderr.write(`\r${name}: ${done} of ${total} `);
  const times: number[] = []; // several short ones: the first prepares the model for its layer
  while (times.length === 0 || (times.length < 8 && times.every((time) => time < 2000))) {
    const start = performance.now();
    const { heatmaps } = await cam.explain(image.tensor, { onProgress });
    times.push(performance.now() - start);
    if (times.length === 1) panels.push({ picture: gradcam.showCamOnImage(image, heatmaps.at(0)) });
  }
  const caption = `${name}, ${Math.min(...times).toFixed(0)} ms`;
  panels.push({ ...(panels.pop() as gradcam.Panel), caption });
  process.stderr.write(`\r${caption.padEnd(40)}\n`);
}

const rows: Buffer[] = [];
for (let from = 0; from < panels.length; from += 5)
  rows.push(await (await gradcam.sideBySide(panels.slice(from, from + 5))).toBuffer());
const sheet = sharp(rows, { join: { across: 1, background: 'white' } });
await sheet.png({ palette: true }).toFile(fileIn('output/gallery.png'));
