// Of a model in both formats: the maps of its exported program, both files' layers that ran, how long they take to load and to
// explain, turn by turn. In the repository's root, where the package finds itself by name: node compare.mjs REQUEST
import { readFileSync, writeFileSync } from 'node:fs';
import {
  convertModel,
  GradCAM,
  LayerCAM,
  loadModel,
  SemanticSegmentationTarget,
  setThreads,
  Tensor,
} from 'node-gradcam';

const classes = { GradCAM, LayerCAM };
const { files, folder, shape, mask, targets, methods, layer, output, reshape, threads, turns } = JSON.parse(
  process.argv[2],
);
setThreads({ intraOpThreads: threads });

function numbers(name, dimensions) {
  const bytes = readFileSync(`${folder}/${name}`);
  const values = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  return Tensor.from(new Float32Array(values), dimensions);
}

async function timed(run) {
  const started = performance.now();
  const result = await run();
  return [performance.now() - started, result];
}

const x = numbers('input.bin', shape);
const aims =
  mask === null
    ? targets
    : targets.map((category) => new SemanticSegmentationTarget(category, numbers('mask.bin', mask)));
const formats = Object.keys(files);
const times = { load: {}, explain: {} };
const models = {};
for (const format of formats) times.load[format] = [];
for (let turn = 0; turn <= turns; turn++) {
  for (const format of formats) {
    await models[format]?.dispose();
    const [time, model] = await timed(() => loadModel(files[format]));
    // The first turn reads the files from the disk.
    if (turn > 0) times.load[format].push(time);
    models[format] = model;
  }
}

const newCam = (method, format) =>
  new classes[method]({
    model: models[format],
    targetLayers: [layer],
    ...(output === null ? {} : { output }),
    ...(reshape === null ? {} : { reshapeTransform: reshape }),
  });
for (const method of methods) {
  const { heatmaps } = await newCam(method, 'pt2').explain(x, { targets: aims });
  writeFileSync(`${folder}/${method}.bin`, heatmaps.toTypedArray());
}

const cams = Object.fromEntries(formats.map((format) => [format, newCam('GradCAM', format)]));
for (const format of formats) times.explain[format] = [];
for (let turn = -2; turn < turns; turn++) {
  for (const format of formats) {
    const [time] = await timed(() => cams[format].explain(x, { targets: aims }));
    // In the first two the plan is made and weights are put into oneDNN's order.
    if (turn >= 0) times.explain[format].push(time);
  }
}

await convertModel(files.pt2, `${folder}/converted.pt`);
const { layers } = await models.pt2.inspect(x);
const called = layers.filter(({ calls }) => calls > 0).map(({ path }) => path);
console.log(JSON.stringify({ layers: called, times }));
for (const format of formats) await models[format].dispose();
