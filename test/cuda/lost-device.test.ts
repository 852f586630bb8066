import { onGpu } from '../helpers/cuda.js';
import { runScript } from '../helpers/run-script.js';

// In processes of their own: a device-side assertion ends CUDA for the whole process.

const common = `
  import { GradCAM, loadModel, Tensor } from 'node-gradcam';
  const input = (token) => {
    const data = new Float32Array(3 * 8 * 8).fill(0.5);
    data[0] = token;
    return Tensor.from(data, [1, 3, 8, 8]);
  };
  const codeOf = (promise) => promise.then(() => 'fine', (error) => error.code);
  const tell = (value) => process.stderr.write('TOLD ' + JSON.stringify(value) + '\\n');
`;

const told = (stderr: string) =>
  stderr
    .split('\n')
    .filter((line) => line.startsWith('TOLD '))
    .map((line) => JSON.parse(line.slice(5)) as unknown);

onGpu(
  'CUDA: an index without an entry fails with its code; later jobs are refused, the CPU goes on',
  async (t) => {
    const { code, signal, stderr } = await runScript(`${common}
    const model = await loadModel('test/fixtures/cuda/table.pt', { device: 'cuda' });
    const onHost = await loadModel('test/fixtures/cuda/table.pt');
    const cam = new GradCAM({ model, targetLayers: 'features' });
    const hostCam = new GradCAM({ model: onHost, targetLayers: 'features' });
    tell(await codeOf(cam.explain(input(3), { targets: 0 })));
    const failing = [cam.explain(input(1000), { targets: 0 }), model.forward(input(1000)), cam.explain(input(2), { targets: 0 })];
    tell(await Promise.all(failing.map(codeOf)));
    const later = await cam.explain(input(3), { targets: 0 }).catch((error) => error);
    tell([later.code, /restart/.test(later.message)]);
    tell(await codeOf(loadModel('test/fixtures/cuda/table.pt', { device: 'cuda' })));
    tell(await codeOf(hostCam.explain(input(3), { targets: 0 })));
    tell(await codeOf(hostCam.explain(input(1000), { targets: 0 })));
    await model.dispose();
    tell('disposed');
  `);
    t.deepEqual([code, signal], [0, null], stderr.slice(-2000));
    const [before, failing, later, loading, host, hostFailing, disposed] = told(stderr);
    t.is(before, 'fine');
    t.deepEqual((failing as string[]).slice(0, 2), ['ERR_CUDA_FAILED', 'ERR_CUDA_FAILED']);
    t.deepEqual(later, ['ERR_CUDA_FAILED', true]);
    t.is(loading, 'ERR_CUDA_FAILED');
    t.is(host, 'fine');
    t.is(hostFailing, 'ERR_FORWARD');
    t.is(disposed, 'disposed');
  },
);

onGpu('CUDA: a server whose GPU is lost is neither ready nor alive', async (t) => {
  const { code, signal, stderr } = await runScript(`${common}
    import { createServer } from 'node-gradcam/server';
    const server = createServer({ models: { table: 'test/fixtures/cuda/table.pt' }, device: 'cuda', logger: false });
    const url = await server.listen({ port: 0 });
    await server.gradcamModels.whenLoaded();
    const health = async () =>
      (await Promise.all(['live', 'ready'].map((name) => fetch(url + '/v2/health/' + name)))).map(({ status }) => status);
    tell(await health());
    const data = Array.from({ length: 192 }, () => 0.5);
    data[0] = 1000;
    const body = { inputs: [{ name: 'INPUT', shape: [1, 3, 8, 8], datatype: 'FP32', data }] };
    const ask = () => fetch(url + '/v2/models/table/infer', {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
    });
    const answer = await ask();
    tell([answer.status, (await answer.json()).code]);
    tell((await ask()).status);
    tell(await health());
    await server.close();
  `);
  t.deepEqual([code, signal], [0, null], stderr.slice(-3000));
  const [before, failed, again, after] = told(stderr);
  t.deepEqual(before, [200, 200]);
  t.deepEqual(failed, [503, 'ERR_CUDA_FAILED']);
  t.is(again, 503);
  t.deepEqual(after, [503, 503]);
});
