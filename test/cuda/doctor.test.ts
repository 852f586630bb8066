import { doctor, loadModel } from 'node-gradcam';
import { onGpu } from '../helpers/cuda.js';
import { liteModel } from '../helpers/fixtures.js';
import { runScript } from '../helpers/run-script.js';

onGpu('CUDA: doctor names the devices and versions', (t) => {
  const { cuda } = doctor();
  t.log(cuda);
  t.true(cuda.available);
  t.is(cuda.reason, null);
  t.is(cuda.devices.length, cuda.deviceCount);
  t.regex(cuda.runtimeVersion ?? '', /^\d+\.\d+$/);
  t.regex(cuda.driverVersion ?? '', /^\d+\.\d+$/);
  t.regex(cuda.cudnnVersion ?? '', /^\d+\.\d+\.\d+$/);
  for (const { name, totalBytes } of cuda.devices) t.true(name.length > 3 && totalBytes > 2 ** 30);
});

onGpu('CUDA: a device index out of range is refused with those there are', async (t) => {
  const { deviceCount } = doctor().cuda;
  const error = await t.throwsAsync(loadModel(liteModel, { device: `cuda:${deviceCount}` }), {
    code: 'ERR_CUDA_UNAVAILABLE',
  });
  t.regex(error?.message ?? '', /'cuda:0'/);
});

onGpu('CUDA: without a visible device the reason says so', async (t) => {
  const script = `
    import { doctor } from 'node-gradcam';
    process.stderr.write(doctor().cuda.reason);`;
  const hidden = await runScript(script, { CUDA_VISIBLE_DEVICES: '' });
  t.regex(hidden.stderr, /no device.*CUDA_VISIBLE_DEVICES/);
  const optedOut = await runScript(script, { GRADCAM_CUDA: '0' });
  t.regex(optedOut.stderr, /GRADCAM_CUDA=0/);
});
