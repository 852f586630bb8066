// The SHA-256 of what explains of the test models give, one a line, by the package in the folder it is started in.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const folder = process.cwd();
const library = await import(pathToFileURL(join(folder, 'dist', 'lib', 'index.js')).href);
const fixtures = join(folder, 'test', 'fixtures');
const { cases } = JSON.parse(readFileSync(join(fixtures, 'golden.json'), 'utf8'));

library.setThreads({ executors: 1, intraOpThreads: 1 });
for (const { name, model: file, input, targetLayers, call, output, targets } of cases) {
  const bytes = readFileSync(join(fixtures, input.file));
  const Kind = input.dtype === 'float64' ? Float64Array : Float32Array;
  const values = new Kind(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const model = await library.loadModel(join(fixtures, file));
  const layers = targetLayers.map((path) => (call === undefined ? path : { path, call }));
  const cam = new library.GradCAM({
    model,
    targetLayers: layers,
    ...(output === undefined ? {} : { output }),
  });
  const digest = createHash('sha256');
  // Twice: from the second call on, weights are packed.
  for (let round = 0; round < 2; round++) {
    const { heatmaps } = await cam.explain(
      library.Tensor.from(values, input.shape),
      targets ? { targets } : {},
    );
    digest.update(heatmaps.toTypedArray());
  }
  console.log(`${digest.digest('hex')} ${name}`);
  await model.dispose();
}
