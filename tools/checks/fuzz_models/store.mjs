// Networks as test fixtures: one packed file, for what they have in common is most of them.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';

/** How many the tests have. */
export const storedNetworks = 200;

/** `FOLDER/networks.br`: a line of JSON with the cases and the sizes of their files, then the files. */
export function storeNetworks(folder, networks, from) {
  const files = networks.map(({ file }) => readFileSync(join(from, file)));
  const cases = networks.map(({ file, source, kept, statements, aliases, small, ...network }, index) => ({
    ...network,
    bytes: files[index].length,
  }));
  const whole = Buffer.concat([Buffer.from(`${JSON.stringify(cases)}\n`), ...files]);
  const params = {
    [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
    [constants.BROTLI_PARAM_SIZE_HINT]: whole.length,
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'networks.br'), brotliCompressSync(whole, { params }));
}
