// Worker threads, each with a model of its own. Explaining never blocks the event loop, so workers are for the JavaScript
// around it, such as decoding and drawing, or to keep one model's load apart from another's.
// Run with: node dist/examples/worker-threads.js [picture.png]
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import {
  GradCAM,
  loadModelWithSidecar,
  type Panel,
  setThreads,
  showCamOnImage,
  sideBySide,
} from 'node-gradcam';

if (isMainThread) {
  const [output = 'output/worker-threads.png'] = process.argv.slice(2);
  setThreads({ intraOpThreads: 1 }); // for the whole process: two workers keep two cores busy
  const classes = ['tabby', 'tiger cat', 'lynx', 'Egyptian cat'];
  const panels = (await Promise.all([inWorker(classes.slice(0, 2)), inWorker(classes.slice(2))])).flat();
  await (await sideBySide(panels)).toFile(output);
  console.log(`${output}: ${panels.map(({ caption }) => caption).join(', ')}`);
} else {
  await using described = await loadModelWithSidecar('examples/models/efficientnet_lite0.pt');
  const image = await described.loadImage('examples/photos/chelsea.png');
  const cam = new GradCAM(described.camOptions);
  for (const caption of workerData as string[]) {
    using explanation = await cam.explain(image.tensor, { targets: described.findClass(caption) });
    const { rgb, width, height } = showCamOnImage(image, explanation.heatmaps.at(0));
    const panel: Panel = { picture: { rgb, width, height }, caption };
    parentPort?.postMessage(panel, [rgb.buffer as ArrayBuffer]); // moved, not copied
  }
}

function inWorker(classes: readonly string[]): Promise<Panel[]> {
  return new Promise((resolve, reject) => {
    const panels: Panel[] = [];
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: classes });
    worker.on('message', (panel: Panel) => panels.push(panel));
    worker.on('error', reject);
    worker.on('exit', () => resolve(panels));
  });
}
