import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pinnedVersion } from './versions.mjs';

/**
 * Installs the pinned torch wheel into `folder` from whatever index pip is configured for.
 *
 * A CPU wheel is complete. PyPI's wheel for Linux on x86-64 is the CUDA build: there `libtorch_cpu.so` also needs the
 * CUDA runtime and CUPTI from wheels of their own, which torch's metadata names. What only a GPU needs is left out,
 * unless `GRADCAM_CUDA=1` asks for all of it.
 */
export async function installWithPip({ python, folder, env, log }) {
  const complete = env.GRADCAM_CUDA === '1';
  const wheel = `torch==${pinnedVersion}`;
  log(`Fetching ${wheel} with ${python} -m pip (up to 550 MB${complete ? ', with CUDA about 3 GB' : ''})`);
  await pipInstall(python, env, folder, complete ? [wheel] : ['--no-deps', wheel]);
  const isCuda = existsSync(join(folder, 'torch', 'lib', 'libtorch_cuda.so'));
  if (!isCuda || complete) return;
  const toolkit = requiredCudaToolkit(folder);
  log(`The wheel is a CUDA build; fetching what its CPU part needs of ${toolkit}`);
  await pipInstall(python, env, folder, [toolkit]);
  removeGpuParts(folder);
}

function pipInstall(python, env, folder, what) {
  const options = ['--disable-pip-version-check', '--no-warn-conflicts', '--no-compile', '--upgrade'];
  const args = ['-m', 'pip', 'install', ...options, '--target', folder, ...what];
  return new Promise((resolve, reject) => {
    // pip shows its own progress; standard output belongs to whoever called us.
    const child = spawn(python, args, { env, stdio: ['ignore', 2, 2] });
    child.once('error', (cause) => reject(new Error(`${python} could not be started`, { cause })));
    child.once('exit', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`"pip install ${what.join(' ')}" failed (${signal ?? `exit code ${code}`})`));
    });
  });
}

/** "cuda-toolkit[cudart,cupti]==13.0.3", with the version that torch's metadata asks for. */
function requiredCudaToolkit(folder) {
  const info = readdirSync(folder).find((name) => /^torch-.*\.dist-info$/.test(name));
  const metadata = info ? readFileSync(join(folder, info, 'METADATA'), 'utf8') : '';
  const version = /^Requires-Dist: cuda-toolkit\[[^\]]*\]==([\d.]+)/m.exec(metadata)?.[1];
  if (!version) throw new Error('the torch wheel does not say which CUDA runtime it needs');
  return `cuda-toolkit[cudart,cupti]==${version}`;
}

const gpuOnly =
  /^lib(torch_cuda.*|torch_nvshmem|torch_python|c10_cuda|caffe2_nvrtc|torch|torch_global_deps)\.so$/;

/** Leaves what the CPU needs: about 500 MB instead of 1.3 GB. */
function removeGpuParts(folder) {
  const libraries = join(folder, 'torch', 'lib');
  for (const name of readdirSync(libraries)) {
    if (gpuOnly.test(name)) rmSync(join(libraries, name));
  }
  for (const name of readdirSync(join(folder, 'torch'))) {
    if (!['lib', 'include', 'share', 'version.py', 'LICENSE'].includes(name)) {
      rmSync(join(folder, 'torch', name), { recursive: true });
    }
  }
}
