import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import test from 'ava';
import { checkNetwork, type NetworkCase } from '../helpers/fuzzed-networks.js';
import { fixturePath } from '../helpers/root.js';

// Networks of the fuzzer of models: `npm run fuzz:models -- --small --cases 260 --store test/fixtures/fuzzed-models`. What
// is right is plain autograd's, in double precision. networks.br: a line of JSON, then the model files.

interface StoredCase extends NetworkCase {
  readonly bytes: number;
}

const whole = brotliDecompressSync(readFileSync(fixturePath('fuzzed-models/networks.br')));
const endOfLine = whole.indexOf('\n');
const networks = JSON.parse(whole.toString('utf8', 0, endOfLine)) as readonly StoredCase[];
const folder = mkdtempSync(join(tmpdir(), 'gradcam-fuzzed-models-'));
test.after.always(() => rmSync(folder, { recursive: true }));

test('there are 200, and most of their maps are compared', (t) => {
  t.is(networks.length, 200);
  const clear = networks.flatMap(({ methods = {} }) => Object.values(methods).flatMap((each) => each.clear));
  t.true(clear.filter(Boolean).length > 0.85 * clear.length);
});

let start = endOfLine + 1;
for (const network of networks) {
  const file = whole.subarray(start, start + network.bytes);
  start += network.bytes;
  const { seed, number, layer, traced } = network;
  test.serial(`network ${number} of seed ${seed}: ${layer}, ${traced ? 'traced' : 'scripted'}`, async (t) => {
    const path = join(folder, `${number}.pt`);
    writeFileSync(path, file);
    const { faults } = await checkNetwork(network, path);
    t.deepEqual(faults, []);
  });
}
