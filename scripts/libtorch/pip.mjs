import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve as resolvePath, sep } from 'node:path';
import { pinnedVersion } from './versions.mjs';

/**
 * Installs the pinned torch wheel into `folder` from whatever index pip is configured for.
 *
 * A CPU wheel is complete. PyPI's wheel for Linux on x86-64 is the CUDA build: there `libtorch_cpu.so` also needs the
 * CUDA runtime and CUPTI from wheels of their own, which torch's metadata names. What only a GPU needs is left out,
 * unless `GRADCAM_CUDA=1` asks for all of it.
 * @param {string} python
 * @param {string} folder
 * @param {{ env: NodeJS.ProcessEnv, log: (line: string) => void, signal: AbortSignal }} context
 */
export async function installWithPip(python, folder, { env, log, signal }) {
  const complete = env.GRADCAM_CUDA === '1';
  const wheel = `torch==${pinnedVersion}`;
  const temporary = join(folder, 'pip-temporary');
  mkdirSync(temporary);
  const pip = (...what) => pipInstall(python, folder, what, { env, temporary, signal });

  const size = complete ? 'with CUDA, a few GB' : 'up to 550 MB';
  log(`Downloading ${wheel} with ${python} -m pip from ${packageIndex(env)} (${size})`);
  await (complete ? pip(wheel) : pip('--no-deps', wheel));
  if (!complete && existsSync(join(folder, 'torch', 'lib', 'libtorch_cuda.so'))) {
    const toolkit = requiredCudaToolkit(folder);
    log(`The wheel is a CUDA build; downloading what its CPU part needs: ${toolkit} (13 MB)`);
    await pip(toolkit);
  }
  if (!complete) removeUnneeded(folder);
  rmSync(temporary, { recursive: true, force: true });
}

/** Where pip downloads from, in words, without the password that an address may hold. */
export function packageIndex(env) {
  if (!URL.canParse(env.PIP_INDEX_URL ?? '')) return 'the index it is configured for, PyPI if none';
  const { origin, pathname } = new URL(env.PIP_INDEX_URL);
  return origin + pathname;
}

/** pip's temporary files go where they are removed with the rest, and --user does not go with --target. */
function pipEnvironment(env, temporary) {
  return { ...env, TMPDIR: temporary, TEMP: temporary, TMP: temporary, PIP_USER: '0' };
}

/** pip's temporary files go where they are removed with the rest. */
export async function installWheel(python, folder, what, { env, signal }) {
  const temporary = join(folder, 'pip-temporary');
  mkdirSync(temporary);
  await pipInstall(python, folder, what, { env, temporary, signal });
  rmSync(temporary, { recursive: true, force: true });
}

/** Only wheels: what is built on the machine runs code of its own for that. */
function pipInstall(python, folder, what, { env, temporary, signal }) {
  const options = ['--disable-pip-version-check', '--no-warn-conflicts', '--no-compile', '--upgrade'];
  options.push('--only-binary=:all:');
  const args = ['-m', 'pip', 'install', ...options, '--target', folder, ...what];
  return new Promise((resolve, reject) => {
    // pip shows its own progress; standard output belongs to whoever called us.
    // Python imports from the current folder first, which may be anybody's: pip itself, too.
    const child = spawn(python.includes(sep) ? resolvePath(python) : python, args, {
      cwd: temporary,
      env: pipEnvironment(env, temporary),
      stdio: ['ignore', 2, 2],
      signal,
    });
    child.once('error', (cause) => {
      // When interrupted, wait for the exit: a living pip would write into the folder that is being removed.
      if (!signal.aborted) reject(new Error(`${python} could not be started`, { cause }));
    });
    child.once('exit', (code, signalName) => {
      if (code === 0) resolve();
      else reject(new Error(`"pip install ${what.join(' ')}" failed (${signalName ?? `exit code ${code}`})`));
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

// Neither torch_cpu nor c10 links any of these, and the addon links only those two.
const unneededLibrary =
  /^lib(torch_cuda.*|torch_nvshmem|torch_python|c10_cuda|caffe2_nvrtc|torch|torch_global_deps)\.so$/;

/** Leaves what the CPU needs: of the CUDA wheel, 540 MB instead of 1.1 GB. */
function removeUnneeded(folder) {
  const torch = join(folder, 'torch');
  for (const name of readdirSync(join(torch, 'lib'))) {
    if (unneededLibrary.test(name)) rmSync(join(torch, 'lib', name));
  }
  for (const name of readdirSync(torch)) {
    if (!['lib', 'include', 'share', 'version.py', 'LICENSE'].includes(name)) {
      rmSync(join(torch, name), { recursive: true });
    }
  }
}
