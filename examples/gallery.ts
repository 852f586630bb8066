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
  new gradcam.CAM(options),
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

// The methods that look at the input, and the one that asks for no class.
const guided = new gradcam.GuidedBackprop({ model });
const { attributions: guidedGradients } = await guided.attribute(image.tensor);
const product = await gradcam.guidedGradCam(new gradcam.GradCAM(options), guided, image.tensor);
const { attributions: gradients } = await new gradcam.Saliency({ model }).attribute(image.tensor);
const { attributions: integrated } = await new gradcam.IntegratedGradients({ model }).attribute(image.tensor);
const factorization = new gradcam.DeepFeatureFactorization({ model, targetLayer: targetLayers });
const { explanations } = await factorization.factorize(image.tensor, { components: 4 });
const { applyColormap, deprocessImage, signedMap } = gradcam;
panels.push(
  { picture: deprocessImage(guidedGradients.at(0)), caption: 'GuidedBackprop' },
  { picture: deprocessImage(product.at(0)), caption: 'guidedGradCam' },
  {
    picture: applyColormap(signedMap(gradients.at(0), { sign: 'absolute' }), 'inferno'),
    caption: 'Saliency',
  },
  { picture: applyColormap(signedMap(integrated.at(0)), 'diverging'), caption: 'IntegratedGradients' },
  {
    picture: await gradcam.showFactorizationOnImage(image, explanations.at(0)),
    caption: 'DeepFeatureFactorization',
  },
);

const sheet = await gradcam.sideBySide(panels, { columns: 6 });
await sharp(await sheet.toBuffer())
  .png({ palette: true })
  .toFile(fileIn('output/gallery.png'));
