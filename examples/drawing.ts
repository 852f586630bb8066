// Every kind of drawing on the demo's photo: makes the pictures of docs/drawing.md. Run with: npm run examples:drawing
import { fileURLToPath } from 'node:url';
import * as gradcam from 'node-gradcam';

const fileIn = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const folder = process.argv[2] ?? fileIn('output/drawing');
const modelPath = fileIn('examples/models/efficientnet_lite0.pt');
const sidecar = await gradcam.loadSidecar(modelPath);
if (!sidecar?.labels) throw new Error('The demo model lost its sidecar.');
const { labels } = sidecar;

await using model = await gradcam.loadModel(modelPath);
const image = await gradcam.loadImage(fileIn('examples/photos/chelsea.png'), gradcam.imageOptions(sidecar));
const targetLayers = (await model.suggestLayer(image.tensor)).path;
const cam = new gradcam.GradCAM({ model, targetLayers });
const { heatmaps } = await cam.explain(image.tensor);
const map = heatmaps.at(0);

async function save(name: string, picture: gradcam.Picture): Promise<void> {
  await picture.toFile(`${folder}/${name}.webp`, { quality: 85 });
  console.log(`${folder}/${name}.webp  ${picture.width} x ${picture.height}`);
}

// Heat over the image.
await save(
  'heat',
  await gradcam.sideBySide([
    { picture: image, caption: 'what the model sees' },
    { picture: gradcam.showCamOnImage(image, map), caption: 'showCamOnImage' },
    { picture: gradcam.showAttentionMap(image, map, { blur: true }), caption: 'showAttentionMap, blurred' },
    { picture: gradcam.heatLayer(map, { power: 2 }), caption: 'heatLayer: transparent where it is cold' },
  ]),
);

// Places: lines, boxes, masks.
const threshold = 0.45;
const box = gradcam.boxFromMap(map, threshold);
await save(
  'places',
  await gradcam.sideBySide([
    {
      picture: await gradcam.showContoursOnImage(image, map, { threshold: [0.45, 0.7] }),
      caption: 'showContoursOnImage at 0.45 and 0.7',
    },
    {
      picture: await gradcam.showBoxesOnImage(image, box ? [box] : [], { color: [255, 220, 0] }),
      caption: 'boxFromMap, showBoxesOnImage',
    },
    {
      picture: gradcam.showMaskOnImage(image, gradcam.binaryMask(map, threshold)),
      caption: 'binaryMask, showMaskOnImage',
    },
  ]),
);

// The original photo.
await save(
  'original',
  await gradcam.sideBySide([
    { picture: await gradcam.drawOnOriginal(image, map), caption: 'drawOnOriginal' },
    {
      picture: await gradcam.drawOnOriginal(
        image,
        map,
        (seen, heat) => gradcam.showContoursOnImage(seen, heat, { threshold: [0.45, 0.7] }),
        { outside: 'plain' },
      ),
      caption: "the same with contours, outside: 'plain'",
    },
  ]),
);

// Methods times classes.
const classes = ['tiger cat', 'tabby', 'Egyptian cat'];
const targets = [classes.map((name) => gradcam.findClass(labels, name))];
const options = { model, targetLayers, methods: ['gradcam', 'layercam', 'eigencam'] } as const;
const compared = await gradcam.compareMethods(options, image.tensor, { targets });
await save(
  'grid',
  await gradcam.pictureGrid({
    rows: ['Grad-CAM', 'LayerCAM', 'Eigen-CAM'],
    columns: classes,
    pictures: [...compared.values()].map((explanation) =>
      classes.map((_, index) => gradcam.showCamOnImage(image, explanation.heatmaps.at(index))),
    ),
  }),
);

// Concepts instead of classes.
const factorization = new gradcam.DeepFeatureFactorization({
  model,
  targetLayer: targetLayers,
  computationOnConcepts: '_fc',
});
const { explanations, conceptOutputs } = await factorization.factorize(image.tensor, { components: 4 });
if (!conceptOutputs) throw new Error('The linear layer gave no names.');
const conceptLabels = gradcam.createLabelsLegend(softmax(conceptOutputs), labels);
await save(
  'factorization',
  await gradcam.showFactorizationOnImage(image, explanations.at(0), { imageWeight: 0.4, conceptLabels }),
);

// What is signed: attributions.
const guided = await new gradcam.GuidedBackprop({ model }).attribute(image.tensor);
const gradients = guided.attributions.at(0);
const signed = gradcam.gaussianBlur(gradcam.signedMap(gradients), 2);
await save(
  'signed',
  await gradcam.sideBySide([
    { picture: gradcam.deprocessImage(gradients), caption: 'deprocessImage of guided backpropagation' },
    {
      picture: gradcam.applyColormap(gradcam.signedMap(gradients), 'diverging'),
      caption: 'signedMap, applyColormap with diverging colours',
    },
    {
      picture: gradcam.showAttentionMap(image, signed, { colormap: 'diverging' }),
      caption: 'showAttentionMap of the same, blurred',
    },
  ]),
);

// Colour maps, each as a ramp and on the map.
const ramp = (name: gradcam.ColormapName) => {
  const lowest = name === 'diverging' ? -1 : 0;
  const values = Float32Array.from(
    { length: 448 * 14 },
    (_, index) => lowest + ((1 - lowest) * (index % 448)) / 447,
  );
  return gradcam.applyColormap(gradcam.Tensor.from(values, [14, 448]), name);
};
await save(
  'colormaps',
  await gradcam.pictureGrid({
    rows: gradcam.colormapNames,
    pictures: gradcam.colormapNames.map((name) => [ramp(name)]),
  }),
);

/** Of each row. */
function softmax(scores: gradcam.Tensor): gradcam.Tensor {
  const [rows = 0, columns = 0] = scores.shape;
  const values = scores.toTypedArray() as Float32Array;
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const each = values.subarray(row * columns, (row + 1) * columns);
    const highest = each.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const exponentials = each.map((value) => Math.exp(value - highest));
    const sum = exponentials.reduce((a, b) => a + b, 0);
    result.set(
      exponentials.map((value) => value / sum),
      row * columns,
    );
  }
  return gradcam.Tensor.from(result, scores.shape);
}
