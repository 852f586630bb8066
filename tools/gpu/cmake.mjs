import { spawnSync } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { jobsAtOnce } from '../../scripts/jobs.mjs';
import { root } from './folders.mjs';

/**
 * Builds the addon with CMake alone: cmake-js would download Node's headers. Those of Node-API are in a package.
 * @param {string} libtorch LibTorch's root
 * @param {string} folder CMake's build folder; its output goes to build.log beside it
 * @param {{ rpath?: boolean, timeout?: number }} [how] without `rpath` the addon keeps no path of this machine;
 *   `timeout` is in milliseconds
 */
export function buildWithCMake(libtorch, folder, { rpath = true, timeout } = {}) {
  mkdirSync(folder, { recursive: true });
  const packages = join(root, 'node_modules');
  const headers = [join(packages, 'node-api-headers', 'include'), join(packages, 'node-addon-api')];
  const logFile = join(folder, '..', 'build.log');
  const log = openSync(logFile, 'w');
  const deadline = timeout && Date.now() + timeout;
  const cmake = (...args) => {
    const left = deadline && Math.max(1, deadline - Date.now());
    const { status, error } = spawnSync('cmake', args, { stdio: ['ignore', log, log], timeout: left });
    if (status === 0) return;
    const end = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-25).join('\n');
    const why =
      error?.code === 'ETIMEDOUT' ? `it took more than ${Math.round(timeout / 1000)} s` : error?.message;
    throw new Error(`The addon could not be built${why ? `: ${why}` : ''}.\nThe end of ${logFile}:\n${end}`);
  };
  try {
    cmake(
      ...['-S', root, '-B', folder],
      `-DGRADCAM_LIBTORCH=${libtorch}`,
      `-DCMAKE_JS_INC=${headers.join(';')}`,
      `-DCMAKE_SKIP_BUILD_RPATH=${rpath ? 'OFF' : 'ON'}`,
    );
  } catch (error) {
    rmSync(folder, { recursive: true }); // it would remember a compiler that does not work
    throw error;
  }
  cmake('--build', folder, '--parallel', String(jobsAtOnce(2.5)));
}
