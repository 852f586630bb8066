import test from 'ava';
import { doctor, GradCAM, loadModel } from 'node-gradcam';
import { noise } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';

// With a CUDA build of LibTorch, on any machine: npm run test:cuda-library. LibTorch keeps its first answer to "is there CUDA"
// for good; here it must be that of its CUDA part, which knows its versions, and not that of the stand-in, which knows none.

test("LibTorch's CUDA part is there, with its runtime and cuDNN", (t) => {
  const { cuda } = doctor();
  t.regex(cuda.runtimeVersion ?? '', /^\d{2}\.\d+$/);
  t.regex(cuda.cudnnVersion ?? '', /^\d+\.\d+\.\d+$/);
});

test('without a GPU the reason says what is missing, and calls on the CPU go on', async (t) => {
  const { available, reason } = doctor().cuda;
  if (available) return t.pass();
  t.regex(reason ?? '', /no NVIDIA driver|driver is too old|no device|driver refuses/);
  const error = await t.throwsAsync(loadModel(fixturePath('scripted.pt'), { device: 'cuda' }), {
    code: 'ERR_CUDA_UNAVAILABLE',
  });
  t.true(error?.message.includes(reason ?? '-'));
  await using model = await loadModel(fixturePath('scripted.pt'));
  const input = { data: noise(3 * 24 * 24), shape: [1, 3, 24, 24] };
  await t.notThrowsAsync(new GradCAM({ model, targetLayers: 'layer2' }).explain(input));
});

test('GRADCAM_CUDA=0 leaves the CUDA part alone', async (t) => {
  const { stderr } = await runScript(
    `import { doctor } from 'node-gradcam'; process.stderr.write(JSON.stringify(doctor().cuda));`,
    { GRADCAM_CUDA: '0' },
  );
  const cuda = JSON.parse(stderr) as { available: boolean; reason: string; runtimeVersion: string | null };
  t.deepEqual([cuda.available, cuda.reason, cuda.runtimeVersion], [false, 'GRADCAM_CUDA=0 is set', null]);
});
