// npm run test:cuda-library: the addon with a CUDA build of LibTorch, on a machine with or without a GPU.
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { resolveLibTorch } from '../../../scripts/libtorch/resolve.mjs';
import { avaProgram, makeVariant, root } from './variant.mjs';

const help = `Usage: npm run test:cuda-library

Shows, where there is no GPU too, that LibTorch's CUDA part comes up with the addon: that
it names its CUDA runtime and cuDNN, and that refusals tell why. Then the CPU must give
the same bits as with the LibTorch of build/.

GRADCAM_CUDA_LIBTORCH is the folder of a CUDA build, with NVIDIA's libraries where it
finds them (a Python torch with its wheels). Where it is not set, pip fetches them into
the cache: a few GB.`;

if (process.argv.includes('--help')) {
  console.log(help);
  process.exit(0);
}
const log = (line) => console.error(line);
const named = process.env.GRADCAM_CUDA_LIBTORCH;
const wanted = named ? { LIBTORCH: named } : { GRADCAM_CUDA: '1', LIBTORCH_USE_PYTORCH: '0' };
const libtorch = await resolveLibTorch({ env: { ...process.env, ...wanted }, log });
if (!libtorch.cuda) throw new Error(`${libtorch.root} is a CPU build: it has no libtorch_cuda`);
const env = { ...process.env, LIBTORCH: libtorch.root };
const variant = await makeVariant('cuda-library', { env });

const tests = ['test/nightly/cuda-library.test.ts', 'test/cam/golden.test.ts', 'test/engine/engine.test.ts'];
const ava = [avaProgram, '--config', 'test/nightly/cuda-library.config.mjs', ...tests];
const { status } = spawnSync(process.execPath, ava, { cwd: variant, env, stdio: 'inherit' });

const digestsIn = (cwd) =>
  execFileSync(process.execPath, [fileURLToPath(new URL('digests.mjs', import.meta.url))], {
    cwd,
    env,
    encoding: 'utf8',
  })
    .trimEnd()
    .split('\n');
const [ofBuild, ofVariant] = [digestsIn(root), digestsIn(variant)];
const others = ofBuild.filter((line, index) => line !== ofVariant[index]);
for (const line of others) log(`other bits: ${line.split(' ').slice(1).join(' ')}`);
log(`${ofBuild.length - others.length} of ${ofBuild.length} models give the same bits`);
process.exitCode = status === 0 && others.length === 0 ? 0 : 1;
