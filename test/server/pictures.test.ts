import { gzipSync } from 'node:zlib';
import test from 'ava';
import sharp from 'sharp';
import { fixturePath } from '../helpers/root.js';
import { photo, type RunningServer, startServer } from '../helpers/server.js';

// Which kinds of pictures the server reads, by their bytes, in each protocol.

let running: RunningServer;
test.before(async () => {
  running = await startServer({ models: { lite: fixturePath('scripted.pt') } });
});
test.after.always(() => running.server.close());

/** The status and code of each protocol's answer to a picture. */
async function answers(bytes: Uint8Array): Promise<string[]> {
  const b64 = Buffer.from(bytes).toString('base64');
  const form = new FormData();
  form.append('image', new Blob([new Uint8Array(bytes)], { type: 'image/png' }), 'image.png');
  const inputs = [{ name: 'x', shape: [1], datatype: 'BYTES', data: [b64] }];
  const asked = await Promise.all([
    running.post('/explain/lite?format=json', bytes, { 'content-type': 'image/png' }),
    running.post('/explain/lite?format=json', form),
    running.post('/v1/models/lite:predict', { instances: [{ b64 }] }),
    running.post('/v1/models/lite:explain', { instances: [{ b64 }], heatmap: 'none' }),
    running.post('/v2/models/lite/infer', { inputs }),
    running.post('/v2/models/lite/infer', { inputs, outputs: [{ name: 'scores' }] }),
  ]);
  return await Promise.all(
    asked.map(async (answer) => {
      const { code = 'well' } = (await answer.json()) as { code?: string };
      return `${answer.status} ${code}`;
    }),
  );
}

const bigTiff = () => sharp(photo).tiff({ bigtiff: true }).toBuffer();
const readable: Record<string, () => Promise<Buffer>> = {
  JPEG: () => sharp(photo).jpeg().toBuffer(),
  PNG: () => sharp(photo).png().toBuffer(),
  WebP: () => sharp(photo).webp().toBuffer(),
  'WebP without loss': () => sharp(photo).webp({ lossless: true }).toBuffer(),
  AVIF: () => sharp(photo).resize(64).avif().toBuffer(),
  GIF: () => sharp(photo).gif().toBuffer(),
  TIFF: () => sharp(photo).tiff().toBuffer(),
  BigTIFF: bigTiff,
};

for (const [kind, make] of Object.entries(readable)) {
  test.serial(`${kind} is read`, async (t) => {
    t.deepEqual(new Set(await answers(await make())), new Set(['200 well']));
  });
}

const svg =
  '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="64" height="64"/></svg>';
const refused: Record<string, Buffer> = {
  SVG: Buffer.from(svg),
  'SVG behind a declaration': Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n<!-- x -->\n${svg}`),
  'SVG behind white space': Buffer.from(`\n\n   ${svg}`),
  'SVG in UTF-16': Buffer.from(`\ufeff${svg}`, 'utf16le'),
  'compressed SVG': gzipSync(svg),
  PDF: Buffer.from('%PDF-1.4\n1 0 obj\n<<>>\nendobj\n'),
  'a picture of libvips': Buffer.from([0xb6, 0xa6, 0xf2, 0x08, ...new Uint8Array(60)]),
  'Radiance HDR': Buffer.from('#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n\0\0\0\0'),
  PPM: Buffer.from('P6\n1 1\n255\nabc'),
  HEIC: Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1'),
  BMP: Buffer.from(`BM${'\0'.repeat(60)}`),
};

for (const [kind, bytes] of Object.entries(refused)) {
  test.serial(`${kind} is refused`, async (t) => {
    t.deepEqual(new Set(await answers(bytes)), new Set(['400 ERR_IMAGE_LOAD']));
  });
}

test.serial('what is known, and not read, is told with its cure', async (t) => {
  const { error } = (await (await running.post('/explain/lite', refused.HEIC)).json()) as { error: string };
  t.regex(error, /HEIC.*convert it to JPEG or PNG/);
  const told = (await (await running.post('/explain/lite', refused.SVG)).json()) as { error: string };
  t.regex(told.error, /JPEG, PNG, WebP, AVIF, GIF or TIFF/);
});

test('large pictures that come together are drawn on in their own size, each by its own bytes', async (t) => {
  const shades = await Promise.all(
    [0.5, 1].map((brightness) => sharp(photo).resize(1300, 1000).modulate({ brightness }).png().toBuffer()),
  );
  const drawn = async (bytes: Buffer, asForm: boolean) => {
    const form = new FormData();
    form.append('image', new Blob([new Uint8Array(bytes)]), 'image.png');
    const answer = await running.post('/explain/lite?original=true&class=1', asForm ? form : bytes);
    t.is(answer.status, 200);
    return Buffer.from(await answer.arrayBuffer());
  };
  const together = await Promise.all(
    shades.flatMap((bytes) => [false, true, false].map((asForm) => drawn(bytes, asForm))),
  );
  for (const [index, bytes] of shades.entries()) {
    const alone = await drawn(bytes, false);
    t.like(await sharp(alone).metadata(), { width: 1300, height: 1000 });
    for (const each of together.slice(3 * index, 3 * index + 3)) t.true(each.equals(alone));
  }
  t.false((together[0] as Buffer).equals(together[3] as Buffer));
});
