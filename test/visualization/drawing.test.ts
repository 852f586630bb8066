import test from 'ava';
import {
  applyColormap,
  binaryMask,
  boxFromMap,
  type ColormapName,
  colormapNames,
  contoursFromMap,
  createLabelsLegend,
  deprocessImage,
  GradCAM,
  gaussianBlur,
  heatLayer,
  imageOptions,
  loadImage,
  loadModel,
  loadSidecar,
  normalizeMap,
  type Picture,
  showAttentionMap,
  showBoxesOnImage,
  showCamOnImage,
  showContoursOnImage,
  showFactorizationOnImage,
  showMaskOnImage,
  signedMap,
  Tensor,
} from 'node-gradcam';
import { colormapTable } from '../../lib/visualization/colours/colormaps.js';
import { golden, pixelAt, readPicture } from '../helpers/drawing.js';
import { maxDifference, noise, readTensor } from '../helpers/fixtures.js';
import { perceptualDistance } from '../helpers/perceptual-distance.js';
import { root } from '../helpers/root.js';

const image = await readPicture(golden.image);
const { width, height } = image;
const map = readTensor(golden.map);
const valuesOf = (tensor: Tensor) => tensor.toTypedArray() as Float32Array;
const bytesOf = (tensor: Tensor) => Array.from(tensor.toTypedArray() as Uint8Array);

test('every colour map equals the one of OpenCV (jet) or matplotlib (all others but gray)', (t) => {
  t.deepEqual(Object.keys(golden.colours.tables).sort(), [...colormapNames].sort());
  for (const [name, expected] of Object.entries(golden.colours.tables))
    t.deepEqual(Array.from(colormapTable(name)), [...expected], name);
});

test('signed maps have the colours that matplotlib gives them between -1 and 1', (t) => {
  const { map: ramp, rgb } = golden.colours.signed;
  t.deepEqual(Array.from(applyColormap(readTensor(ramp), 'diverging').rgb), [...rgb]);
});

test('a map in colours takes from the table what OpenCV takes: 255 times the value, cut off', (t) => {
  const steps = Float32Array.from({ length: 256 }, (_, index) => index / 255);
  for (const name of colormapNames.filter((each) => each !== 'diverging')) {
    const { rgb } = applyColormap(Tensor.from(steps, [1, 256]), name);
    t.deepEqual(Array.from(rgb), Array.from(colormapTable(name)), name);
  }
});

for (const { sigma, blurred } of golden.blurs) {
  test(`a blur of ${sigma} pixels is SciPy's`, (t) => {
    const difference = maxDifference(valuesOf(gaussianBlur(map, sigma)), valuesOf(readTensor(blurred)));
    t.log(`largest difference ${difference.toExponential(1)}`);
    t.true(difference < 1e-6);
  });
}

test('a blur of 0 changes nothing, and no blur changes the sum of a map', (t) => {
  t.is(maxDifference(valuesOf(gaussianBlur(map, 0)), valuesOf(map)), 0);
  const sum = (tensor: Tensor) => valuesOf(tensor).reduce((total, value) => total + value, 0);
  for (const sigma of [0.4, 3, 50])
    t.true(Math.abs(sum(gaussianBlur(map, sigma)) / sum(map) - 1) < 1e-5, `${sigma}`);
});

for (const { blur, map: raw, file } of golden.attentions) {
  test(`the attention map${blur ? ', blurred,' : ''} is the CLIP notebook's`, async (t) => {
    const drawn = showAttentionMap(image, readTensor(raw), { blur });
    const expected = await readPicture(file);
    const difference = maxDifference(drawn.rgb, expected.rgb);
    const distance = perceptualDistance(drawn, expected);
    t.log(`largest difference ${difference} of 255, perceptual distance ${distance.toFixed(3)}`);
    t.true(difference <= 1); // matplotlib's colours are floats there, bytes here
    t.true(distance < 0.5);
  });
}

test('a signed attention map keeps its sign: 0 shows the image, negative is blue, positive is red', (t) => {
  const gray = { rgb: new Uint8Array(9).fill(128), width: 3, height: 1 };
  const drawn = showAttentionMap(gray, Tensor.from([-4, 0, 4], [1, 3]), { colormap: 'diverging' });
  const [red = 0, , blue = 0] = pixelAt(drawn, 0, 0);
  t.true(blue > red + 50);
  t.deepEqual(pixelAt(drawn, 1, 0), [128, 128, 128]);
  const [redOfLast = 0, , blueOfLast = 0] = pixelAt(drawn, 2, 0);
  t.true(redOfLast > blueOfLast + 50);
});

for (const { imageWeight, file } of golden.factorization.cases) {
  test(`a factorization with image weight ${imageWeight} is drawn as pytorch-grad-cam does`, async (t) => {
    const explanations = readTensor(golden.factorization.explanations);
    const drawn = await showFactorizationOnImage(image, explanations, { imageWeight });
    const expected = await readPicture(file);
    const difference = maxDifference(drawn.rgb, expected.rgb);
    const distance = perceptualDistance(drawn, expected);
    t.log(`largest difference ${difference} of 255, perceptual distance ${distance.toFixed(3)}`);
    t.true(difference <= 1); // so much do OpenCV's vector and scalar code for HSV differ from each other
    t.true(distance < 0.1);
  });
}

test("the legend's labels are those of pytorch-grad-cam", (t) => {
  const { scores, labels, legend } = golden.factorization;
  for (const [top, expected] of Object.entries(legend))
    t.deepEqual(createLabelsLegend(readTensor(scores), labels, Number(top)), [...expected]);
  t.deepEqual(createLabelsLegend(readTensor(scores), labels), [...(legend['2'] ?? [])]);
});

test('with labels a factorization has a legend of its colours at the right', async (t) => {
  const explanations = readTensor(golden.factorization.explanations);
  const colors = [
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [255, 255, 0],
    [0, 255, 255],
  ] as const;
  const options = { colors, conceptLabels: ['one', 'two\nlines', '<three> & more', '', 'five'] };
  const drawn = await showFactorizationOnImage(image, explanations, options);
  const bare = await showFactorizationOnImage(image, explanations, { colors });
  t.true(drawn.width > bare.width + 40 && drawn.height > bare.height);
  let last = -1;
  for (const color of colors) {
    const rows = Array.from({ length: drawn.height }, (_, y) => y).filter((y) =>
      Array.from({ length: drawn.width - width - 16 }, (_, x) => pixelAt(drawn, width + 16 + x, y)).some(
        (pixel) => pixel.join() === color.join(),
      ),
    );
    t.true(rows.length >= 8, `${color}`);
    t.true((rows[0] ?? 0) > last, 'in order');
    last = rows.at(-1) ?? 0;
  }
});

for (const { attribution, file } of golden.deprocessed) {
  test(`attributions ${attribution.shape} are deprocessed as by pytorch-grad-cam`, async (t) => {
    const drawn = deprocessImage(readTensor(attribution));
    const expected = await readPicture(file);
    const different = drawn.rgb.filter((value, index) => value !== expected.rgb[index]).length;
    t.log(`${different} of ${drawn.rgb.length} bytes differ, by ${maxDifference(drawn.rgb, expected.rgb)}`);
    t.true(maxDifference(drawn.rgb, expected.rgb) <= 1); // numpy's mean in float32 is a little off
    t.true(different <= drawn.rgb.length / 100);
  });
}

test('an attribution of zeros is deprocessed to plain gray', (t) => {
  t.deepEqual(new Set(deprocessImage(Tensor.from(new Float32Array(12), [3, 2, 2])).rgb), new Set([127]));
});

for (const { sign, outlierPercentage, map: expected } of golden.attributions.cases) {
  test(`a signed map (${sign}, ${outlierPercentage} % outliers) is scaled as by Captum`, (t) => {
    const attribution = readTensor(golden.attributions.attribution);
    const scaled = signedMap(attribution, { sign, outlierPercentage });
    const difference = maxDifference(valuesOf(scaled), valuesOf(readTensor(expected)));
    t.log(`largest difference ${difference.toExponential(1)}`);
    t.true(difference < 1e-5);
  });
}

test('a signed map of zeros is zero', (t) => {
  t.deepEqual(Array.from(valuesOf(signedMap(Tensor.from(new Float32Array(8), [2, 2, 2])))), [0, 0, 0, 0]);
});

for (const { threshold, box, points } of golden.regions) {
  test(`at ${threshold} the box is OpenCV's and the contours are scikit-image's`, (t) => {
    t.deepEqual([...(boxFromMap(map, threshold) ?? [])], [...box]);
    const contours = contoursFromMap(map, threshold);
    const found = contours.flat();
    for (const contour of contours) t.deepEqual(contour[0], contour.at(-1), 'closed');
    const near = ([x = 0, y = 0]: readonly number[], [a = 0, b = 0]: readonly number[]) =>
      Math.hypot(x - a, y - b) < 2e-4;
    const missed = points.filter((point) => !found.some((other) => near(point, other)));
    t.deepEqual(missed, [], 'every point of scikit-image is there');
    const inner = found.filter(([x, y]) => x > 0.5 && y > 0.5 && x < width - 0.5 && y < height - 0.5);
    const extra = inner.filter((point) => !points.some((other) => near(point, other)));
    t.deepEqual(extra, [], 'and none but its points, except along the edge');
    t.true(points.length > 10);
  });
}

test('the box is that of the largest region, not of the hottest', (t) => {
  const small = new Float32Array(100);
  small[11] = 1;
  for (const place of [55, 56, 57, 66]) small[place] = 0.6;
  t.deepEqual(boxFromMap(Tensor.from(small, [10, 10]), 0.5), [5, 5, 8, 7]);
  t.is(boxFromMap(Tensor.from(new Float32Array(100), [10, 10])), null);
});

test('a binary mask is 1 from the threshold on', (t) => {
  const mask = binaryMask(Tensor.from([0, 0.3, 0.5, 0.7], [2, 2]));
  t.is(mask.dtype, 'uint8');
  t.deepEqual(bytesOf(mask), [0, 0, 1, 1]);
  t.deepEqual(bytesOf(binaryMask(Tensor.from([0, 0.3, 0.5, 0.7], [2, 2]), 0.3)), [0, 1, 1, 1]);
});

test('a masked image keeps what the mask covers and is gray and darker elsewhere', (t) => {
  const mask = binaryMask(map, 0.5);
  const inside = mask.toTypedArray();
  const drawn = showMaskOnImage(image, mask);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    const [red = 0, green = 0, blue = 0] = pixelAt(drawn, x, y);
    if (inside[pixel]) t.deepEqual([red, green, blue], pixelAt(image, x, y));
    else t.true(red === green && green === blue && red <= 0.4 * Math.max(...pixelAt(image, x, y)) + 1);
  }
  const floats = Tensor.from(Float32Array.from(inside as Uint8Array), [height, width]); // as categoryMask() gives it
  t.deepEqual(showMaskOnImage(image, floats).rgb, drawn.rgb);
});

test('contours and boxes are drawn where they are, and leave the rest alone', async (t) => {
  const black = { rgb: new Uint8Array(40 * 40 * 3), width: 40, height: 40 };
  const step = Tensor.from(
    Float32Array.from({ length: 1600 }, (_, index) => (index % 40 >= 20 ? 1 : 0)),
    [40, 40],
  );
  const options = { color: [255, 255, 0], lineWidth: 2 } as const;
  const brightColumns = (picture: Picture) =>
    Array.from({ length: 38 }, (_, index) => index + 1).filter(
      (x) => (pixelAt(picture, x, 13)[0] ?? 0) > 128,
    );
  t.deepEqual(brightColumns(await showContoursOnImage(black, step, options)), [19, 20]);
  t.deepEqual(brightColumns(await showBoxesOnImage(black, [[10, 5, 30, 25]], options)), [9, 10, 29, 30]);
  const untouched = await showContoursOnImage(image, map, { threshold: 2 });
  t.deepEqual(untouched.rgb, image.rgb);
  t.deepEqual((await showBoxesOnImage(image, [])).rgb, image.rgb);
});

test('a heat layer is as opaque as the map is hot', (t) => {
  const layer = heatLayer(Tensor.from([0, 0.5, 1], [1, 3]), { power: 1, colormap: 'viridis' });
  t.deepEqual(Array.from(layer.alpha ?? []), [0, 128, 255]);
  t.deepEqual(layer.rgb, applyColormap(Tensor.from([0, 0.5, 1], [1, 3]), 'viridis').rgb);
  const signed = heatLayer(Tensor.from([-1, 0, 1], [1, 3]), { colormap: 'diverging' });
  t.deepEqual(Array.from(signed.alpha ?? []), [255, 0, 255]);
});

test('normalising ends at 0 and 1, and leaves nothing of a constant map', (t) => {
  const values = valuesOf(normalizeMap(Tensor.from([-3, 5, 1, 1], [2, 2])));
  t.deepEqual(Array.from(values), [0, 1, 0.5, 0.5]);
  t.deepEqual(Array.from(valuesOf(normalizeMap(Tensor.from([7, 7], [1, 2])))), [0, 0]);
});

test('the whole way on a real photo looks as in Python: pytorch-grad-cam and the CLIP notebook', async (t) => {
  const modelPath = `${root}examples/models/efficientnet_lite0.pt`;
  const sidecar = await loadSidecar(modelPath);
  if (!sidecar) throw new Error('The demo model lost its sidecar.');
  await using model = await loadModel(modelPath);
  const photo = await loadImage(`${root}examples/photos/chelsea.png`, imageOptions(sidecar));
  const { heatmaps } = await new GradCAM({ model, targetLayers: '_relu1' }).explain(photo.tensor);
  const pictures: [name: 'overlay' | 'attention', drawn: Picture][] = [
    ['overlay', showCamOnImage(photo, heatmaps.at(0))],
    ['attention', showAttentionMap(photo, heatmaps.at(0), { blur: true })],
  ];
  for (const [name, drawn] of pictures) {
    const distance = perceptualDistance(drawn, await readPicture(golden.demo[name]));
    t.log(`${name}: perceptual distance ${distance.toFixed(2)}`);
    t.true(distance < 1, name);
  }
});

const any = (shape: readonly number[], dtype: 'float' | 'bytes' = 'float') => {
  const size = shape.reduce((product, length) => product * length, 1);
  return Tensor.from(dtype === 'float' ? new Float32Array(size) : new Uint8Array(size), shape);
};
const small = { rgb: new Uint8Array(12), width: 2, height: 2 };
const nan = Tensor.from([0, Number.NaN, 0, 0], [2, 2]);
const misuses: readonly [what: string, act: () => unknown, code: string][] = [
  ['colours of a value above 1', () => applyColormap(Tensor.from([1.1], [1, 1])), 'ERR_OUT_OF_RANGE'],
  ['colours of a negative value', () => applyColormap(Tensor.from([-0.1], [1, 1])), 'ERR_OUT_OF_RANGE'],
  ['colours of NaN', () => applyColormap(nan), 'ERR_OUT_OF_RANGE'],
  ['unknown colours', () => applyColormap(map, 'hot' as ColormapName), 'ERR_INVALID_ARG_TYPE'],
  ['a map of bytes', () => applyColormap(any([2, 2], 'bytes')), 'ERR_INVALID_ARG_TYPE'],
  ['a batch of maps', () => applyColormap(any([1, 2, 2])), 'ERR_OUT_OF_RANGE'],
  ['an empty map', () => normalizeMap(any([0, 2])), 'ERR_OUT_OF_RANGE'],
  ['a plain array', () => normalizeMap([[1]] as unknown as Tensor), 'ERR_INVALID_ARG_TYPE'],
  ['a negative sigma', () => gaussianBlur(map, -1), 'ERR_OUT_OF_RANGE'],
  ['a sigma of NaN', () => gaussianBlur(map, Number.NaN), 'ERR_OUT_OF_RANGE'],
  ['a sigma as text', () => gaussianBlur(map, '2' as unknown as number), 'ERR_INVALID_ARG_TYPE'],
  ['a power of 0', () => showAttentionMap(small, any([2, 2]), { power: 0 }), 'ERR_OUT_OF_RANGE'],
  [
    'a blur by number',
    () => showAttentionMap(small, any([2, 2]), { blur: 3 as never }),
    'ERR_INVALID_ARG_TYPE',
  ],
  [
    'an unknown option',
    () => showAttentionMap(small, any([2, 2]), { sigma: 3 } as never),
    'ERR_UNKNOWN_OPTION',
  ],
  ['a map of another size', () => showAttentionMap(small, any([2, 3])), 'ERR_OUT_OF_RANGE'],
  ['a threshold of NaN', () => binaryMask(map, Number.NaN), 'ERR_OUT_OF_RANGE'],
  ['a threshold as text', () => boxFromMap(map, 'half' as never), 'ERR_INVALID_ARG_TYPE'],
  ['an infinite threshold', () => contoursFromMap(map, Number.POSITIVE_INFINITY), 'ERR_OUT_OF_RANGE'],
  [
    'a heatmap as a mask',
    () => showMaskOnImage(small, Tensor.from([0, 1, 0.5, 1], [2, 2])),
    'ERR_INVALID_ARG_TYPE',
  ],
  ['a mask of another size', () => showMaskOnImage(small, any([2, 3], 'bytes')), 'ERR_OUT_OF_RANGE'],
  [
    'a colour of two',
    () => showBoxesOnImage(small, [[0, 0, 1, 1]], { color: [1, 2] as never }),
    'ERR_OUT_OF_RANGE',
  ],
  [
    'a colour by name',
    () => showContoursOnImage(small, any([2, 2]), { color: 'red' as never }),
    'ERR_INVALID_ARG_TYPE',
  ],
  ['a line without width', () => showBoxesOnImage(small, [], { lineWidth: 0 }), 'ERR_OUT_OF_RANGE'],
  ['a box of three', () => showBoxesOnImage(small, [[0, 0, 1] as never]), 'ERR_OUT_OF_RANGE'],
  ['a box turned inside out', () => showBoxesOnImage(small, [[5, 0, 1, 1]]), 'ERR_OUT_OF_RANGE'],
  ['boxes that are none', () => showBoxesOnImage(small, null as never), 'ERR_INVALID_ARG_TYPE'],
  ['an attribution of two channels', () => deprocessImage(any([2, 4, 4])), 'ERR_OUT_OF_RANGE'],
  ['a batch of attributions', () => deprocessImage(any([1, 3, 4, 4])), 'ERR_OUT_OF_RANGE'],
  ['an attribution with NaN', () => deprocessImage(Tensor.from([Number.NaN], [1, 1, 1])), 'ERR_OUT_OF_RANGE'],
  ['an unknown sign', () => signedMap(any([3, 2, 2]), { sign: 'both' as never }), 'ERR_INVALID_ARG_TYPE'],
  ['all outliers', () => signedMap(any([3, 2, 2]), { outlierPercentage: 100 }), 'ERR_OUT_OF_RANGE'],
  ['explanations of another size', () => showFactorizationOnImage(small, any([3, 2, 3])), 'ERR_OUT_OF_RANGE'],
  [
    'explanations beyond 1',
    () => showFactorizationOnImage(small, Tensor.from([2, 0, 0, 0], [1, 2, 2])),
    'ERR_OUT_OF_RANGE',
  ],
  [
    'too few labels',
    () => showFactorizationOnImage(small, any([3, 2, 2]), { conceptLabels: ['a'] }),
    'ERR_OUT_OF_RANGE',
  ],
  [
    'too few colours',
    () => showFactorizationOnImage(small, any([3, 2, 2]), { colors: [] }),
    'ERR_OUT_OF_RANGE',
  ],
  ['a legend without labels', () => createLabelsLegend(any([2, 5]), ['a']), 'ERR_OUT_OF_RANGE'],
];
for (const [what, act, code] of misuses) {
  test(`misuse: ${what} is ${code}`, async (t) => {
    const error = await t.throwsAsync(async () => act(), { code });
    t.true(error instanceof TypeError || error instanceof RangeError);
  });
}

test('a disposed map is ERR_DISPOSED', (t) => {
  const gone = Tensor.from(noise(4), [2, 2]);
  gone.dispose();
  t.throws(() => normalizeMap(gone), { code: 'ERR_DISPOSED' });
});
