import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jobsAtOnce } from '../../scripts/jobs.mjs';
import { root } from './folders.mjs';
import { runProgram } from './program.mjs';

/**
 * Builds the addon with CMake alone: cmake-js would download Node's headers. Those of Node-API are in a package.
 * @param {string} libtorch LibTorch's root
 * @param {string} folder CMake's build folder; its output goes to build.log beside it
 * @param {{ rpath?: boolean, seconds?: number }} [how] without `rpath` the addon keeps no path of this machine;
 *   `seconds` is what it may take
 */
export async function buildWithCMake(libtorch, folder, { rpath = true, seconds = 3600 } = {}) {
  mkdirSync(folder, { recursive: true });
  const packages = join(root, 'node_modules');
  const headers = [join(packages, 'node-api-headers', 'include'), join(packages, 'node-addon-api')];
  const logFile = join(folder, '..', 'build.log');
  writeFileSync(logFile, '');
  const deadline = Date.now() + seconds * 1000;
  const cmake = async (...args) => {
    const left = Math.max(1, (deadline - Date.now()) / 1000);
    if ((await runProgram(['cmake', ...args], { cwd: root, seconds: left, logFile })) === 0) return;
    const end = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-25).join('\n');
    throw new Error(`The addon could not be built. The end of ${logFile}:\n${end}`);
  };
  try {
    await cmake(
      ...['-S', root, '-B', folder],
      `-DGRADCAM_LIBTORCH=${libtorch}`,
      `-DCMAKE_JS_INC=${headers.join(';')}`,
      `-DCMAKE_SKIP_BUILD_RPATH=${rpath ? 'OFF' : 'ON'}`,
    );
  } catch (error) {
    rmSync(folder, { recursive: true }); // it would remember a compiler that does not work
    throw error;
  }
  await cmake('--build', folder, '--parallel', String(jobsAtOnce(2.5)));
}
