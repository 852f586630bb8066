// Explains all photos of a folder with progress: they share batches, and one that cannot be read does not stop the others.
// Run with: node dist/examples/batch-of-files.js [folder] [output folder] [model.pt]
// On many machines, and where a crash must not lose work: `gradcam batch`, docs/batch.md.
import { readdir } from 'node:fs/promises';
import { join, parse } from 'node:path';
import { SingleBar } from 'cli-progress';
import { Explainer, explainStream, loadModelWithSidecar, showCamOnImage } from 'node-gradcam';

const folder = process.argv[2] ?? 'examples/photos';
const output = process.argv[3] ?? 'output/batch-of-files';

await using described = await loadModelWithSidecar(
  process.argv[4] ?? 'examples/models/efficientnet_lite0.pt',
);
const explainer = new Explainer({ ...described.camOptions, maxBatch: 8 });
const names = (await readdir(folder)).filter((name) => /\.(jpe?g|png|webp|avif|tiff?)$/i.test(name)).sort();

const bar = new SingleBar({ format: '{bar} {value}/{total} photos, {eta_formatted} left', barsize: 30 });
bar.start(names.length, 0);
const lines: string[] = [];
const results = explainStream(explainer, names, {
  prepare: (name) => described.loadImage(join(folder, name)),
  errors: 'yield',
});
for await (const { item, input, explanation, error } of results) {
  if (explanation) {
    using _ = explanation;
    const [map] = explanation.maps;
    const path = join(output, `${parse(item).name}.png`);
    await showCamOnImage(input, explanation.heatmaps.at(0)).toFile(path);
    lines.push(`${item}  ${described.labels?.[map?.classIndex ?? -1] ?? `class ${map?.classIndex}`}`);
  } else {
    lines.push(`${item}  not explained: ${(error as Error).message}`);
    process.exitCode = 1;
  }
  bar.increment();
}
bar.stop();
await explainer.dispose();

console.log(lines.join('\n'));
console.log(`\n${names.length} photos, pictures in ${output}`);
