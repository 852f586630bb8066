import { deflateSync } from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import sharp from 'sharp';
import { complaint, fuzzedServer, refused, runs } from '../helpers/fuzzed-server.js';
import { photo } from '../helpers/server.js';

// Whatever comes over the network: the answer is a 4xx or 5xx with a JSON error, nothing of the server's inside is told,
// and the server goes on.
const server = fuzzedServer();

test.serial('pictures that were changed, cut off or are none', async (t) => {
  const jpeg = await sharp(photo).jpeg().toBuffer();
  const change = fc.record({
    base: fc.constantFrom(photo, jpeg),
    flips: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 20 }),
    keep: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  await fc.assert(
    fc.asyncProperty(change, async ({ base, flips, keep }) => {
      const bytes = Buffer.from(base.subarray(0, Math.ceil(base.length * keep)));
      for (const [at, value] of flips) if (bytes.length > 0) bytes[at % bytes.length] = value;
      const answer = await server().post('/explain/tiny?format=json', bytes);
      if (answer.status === 200) return void (await answer.arrayBuffer());
      const problem = await complaint(answer);
      if (problem !== null) throw new Error(problem);
    }),
    { ...runs, numRuns: Math.ceil(runs.numRuns / 2) },
  );
  t.pass();
});

/** A PNG whose header promises more than its data holds. */
function pngOf(width: number, height: number, data: Buffer): Buffer {
  const table = Array.from({ length: 256 }, (_, index) => {
    let value = index;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
    return value >>> 0;
  });
  const chunk = (type: string, content: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), content]);
    let crc = 0xffffffff;
    for (const byte of body) crc = (table[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
    const ends = Buffer.alloc(8);
    ends.writeUInt32BE(content.length, 0);
    ends.writeUInt32BE((crc ^ 0xffffffff) >>> 0, 4);
    return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  const signature = Buffer.from('89504e470d0a1a0a', 'hex');
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(data)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

test.serial('image bombs', async (t) => {
  const svg = (text: string) => Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" ${text}</svg>`);
  const bombs = {
    'a PNG of 65535 x 65535': pngOf(65_535, 65_535, Buffer.alloc(1000)),
    'a PNG of 2^31 - 1': pngOf(2 ** 31 - 1, 2 ** 31 - 1, Buffer.alloc(10)),
    'a PNG with too little data': pngOf(900, 900, Buffer.alloc(10)),
    'real pixels, well compressed': await sharp({
      create: { width: 9000, height: 9000, channels: 3, background: 'red' },
    })
      .png({ compressionLevel: 9 })
      .toBuffer(),
    'an SVG of 10^6 x 10^6': svg('width="1000000" height="1000000"><rect width="9" height="9"/>'),
    'a GIF that is only a header': Buffer.from('GIF89a\xff\xff\xff\xff\x80\x00\x00', 'latin1'),
  };
  const before = process.memoryUsage().rss;
  const b64 = { instances: [{ b64: bombs['a PNG of 65535 x 65535'].toString('base64') }] };
  for (const [name, bytes] of Object.entries(bombs)) {
    const answer = await server().post('/explain/tiny', bytes);
    t.is(answer.status, 400, name);
    await refused(t, answer);
  }
  await refused(t, await server().post('/v1/models/tiny:explain', b64));
  t.true(process.memoryUsage().rss - before < 400 * 1024 ** 2);
});

test.serial('forms that are broken', async (t) => {
  const part = 'content-disposition: form-data; name="image"; filename="a.png"\r\n\r\n';
  const forms = {
    'no boundary': ['multipart/form-data', 'x'],
    'nothing in it': ['multipart/form-data; boundary=b', ''],
    'no end': ['multipart/form-data; boundary=b', `--b\r\n${part}abc`],
    'no header of the part': ['multipart/form-data; boundary=b', '--b\r\n\r\nabc\r\n--b--\r\n'],
    'another boundary': ['multipart/form-data; boundary=b', `--c\r\n${part}abc\r\n--c--\r\n`],
    'endless headers of a part': [
      'multipart/form-data; boundary=b',
      `--b\r\nx: ${'y'.repeat(200_000)}\r\n\r\n`,
    ],
    'many parts': ['multipart/form-data; boundary=b', `--b\r\n${part}abc\r\n`.repeat(500)],
    'a name that pollutes': [
      'multipart/form-data; boundary=b',
      '--b\r\ncontent-disposition: form-data; name="__proto__"; filename="a"\r\n\r\nabc\r\n--b--\r\n',
    ],
    'too large': ['multipart/form-data; boundary=b', `--b\r\n${part}${'z'.repeat(2_100_000)}\r\n--b--\r\n`],
  } as const;
  for (const [name, [type, body]] of Object.entries(forms)) {
    t.is(
      await complaint(await server().post('/explain/tiny', Buffer.from(body), { 'content-type': type })),
      null,
      name,
    );
  }
});
