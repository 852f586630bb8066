// npm run test:numeric: the tests whose bounds are numbers, with the vector instructions of older CPUs. Each set of variables
// holds down what PyTorch, oneDNN and MKL would take of this CPU.
import { spawnSync } from 'node:child_process';
import { commandOf } from './command.mjs';
import { avaProgram, root } from './variants/variant.mjs';

/** Rooms, and single files of others. */
const tests = ['cam', 'clip', 'dense', 'engine/fast-path.test.ts', 'model/kinds.test.ts'].map(
  (name) => `test/${name}`,
);

const sets = {
  AVX2: { ATEN_CPU_CAPABILITY: 'avx2', ONEDNN_MAX_CPU_ISA: 'AVX2' },
  'SSE 4.1': { ATEN_CPU_CAPABILITY: 'default', ONEDNN_MAX_CPU_ISA: 'SSE41', MKL_CBWR: 'COMPATIBLE' },
};

const program = commandOf(
  'test:numeric',
  `Runs ${tests.join(', ')} with ${Object.keys(sets).join(', then with ')}.`,
)
  .argument('[arguments...]', "AVA's")
  .allowUnknownOption()
  .parse();

let failed = false;
for (const [name, variables] of Object.entries(sets)) {
  console.error(`--- ${name}`);
  const { status } = spawnSync(process.execPath, [avaProgram, ...program.args, ...tests], {
    cwd: root,
    env: { ...process.env, OMP_NUM_THREADS: '1', ...variables },
    stdio: 'inherit',
  });
  failed ||= status !== 0;
}
process.exit(failed ? 1 : 0);
