// Heat on every frame of a video: frames go in one by one as a decoder gives them, several are explained at a time, and
// results come out in order. Here the frames are a camera's walk over a photo.
// Run with: node dist/examples/video-frames.js [video.webp]
import { Explainer, explainStream, loadModelWithSidecar, showCamOnImage } from 'node-gradcam';
import sharp from 'sharp';

const [output = 'output/video-frames.webp'] = process.argv.slice(2);
const frameCount = 24;

async function* frames() {
  const photo = sharp('examples/photos/chelsea.png');
  const { width, height } = await photo.metadata();
  const side = Math.round(height * 0.75);
  for (let frame = 0; frame < frameCount; frame++) {
    const angle = (2 * Math.PI * frame) / frameCount;
    const left = Math.round(((width - side) * (1 - Math.cos(angle))) / 2);
    const top = Math.round(((height - side) * (1 + Math.sin(angle))) / 2);
    yield await photo.clone().extract({ left, top, width: side, height: side }).png().toBuffer();
  }
}

await using described = await loadModelWithSidecar('examples/models/efficientnet_lite0.pt');
const tigerCat = described.findClass('tiger cat');
await using explainer = new Explainer({ ...described.camOptions, maxBatch: 8 });

const pictures: Buffer[] = [];
const start = performance.now();
for await (const { input, explanation } of explainStream(explainer, frames(), {
  prepare: (frame) => described.loadImage(frame),
  concurrency: 8, // no more frames than these are held at a time
  targets: tigerCat,
})) {
  pictures.push(await showCamOnImage(input, explanation.heatmaps.at(0)).toBuffer());
  explanation.dispose();
}
const seconds = (performance.now() - start) / 1000;
await sharp(pictures, { join: { animated: true } })
  .webp({ delay: Array(frameCount).fill(80), quality: 70 })
  .toFile(output);
console.log(
  `${output}: ${pictures.length} frames in ${seconds.toFixed(1)} s, ${explainer.stats.batches} batches`,
);
