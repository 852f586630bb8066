import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import sharp from 'sharp';
import { fixturePath, rootPath } from '../helpers/root.js';
import { binaryInference, photo, type RunningServer, startServer } from '../helpers/server.js';
import { untilPending } from '../helpers/server-requests.js';

// Whatever comes over the network: the answer is a 4xx or 5xx with a JSON error, nothing of the server's inside is told,
// and the server goes on. `seed` and `path` of a failure reproduce it; GRADCAM_FUZZ_RUNS makes more of it.
const numRuns = Number(process.env.GRADCAM_FUZZ_RUNS ?? 60);
const seed = Number(process.env.GRADCAM_FUZZ_SEED ?? 20_260_801);

const tiny = fixturePath('scripted.pt');
let running: RunningServer;
test.before(async () => {
  running = await startServer({
    models: { tiny },
    modelControl: true,
    maxBodyBytes: 2_000_000,
    maxImagePixels: 1_000_000,
    maxBatch: 1,
  });
});
test.afterEach.always('the server still serves', async (t) => {
  const image = {
    inputs: [{ name: 'x', shape: [1, 3, 16, 16], datatype: 'FP32' }],
    outputs: [{ name: 'heatmap' }],
  };
  const { body, headers } = binaryInference(image, new Float32Array(3 * 16 * 16).fill(0.5));
  const answer = await running.post('/v2/models/tiny/infer', body, headers);
  t.is(answer.status, 200, await answer.text());
  await untilPending(running, 0);
});
test.after.always(async () => {
  await running.server.close();
});

/** What is wrong with an answer to something that cannot be answered; null where nothing is. */
async function complaint(answer: Response): Promise<string | null> {
  const text = await answer.text();
  const told = `${answer.status} ${text.slice(0, 300)}`;
  if (answer.status < 400 || answer.status === 500) return told;
  try {
    const { error, code } = JSON.parse(text) as { error: unknown; code: unknown };
    if (typeof error !== 'string' || typeof code !== 'string' || !/^(ERR|FST)_/.test(code)) return told;
  } catch {
    return told;
  }
  return /node_modules|\.js:\d|\n +at |\/dist\/|aten::|\.cpp/.test(text) ? told : null;
}

async function refused(t: ExecutionContext, answer: Response): Promise<void> {
  t.is(await complaint(answer), null);
}

const paths = ['/v1/models/tiny:predict', '/v1/models/tiny:explain', '/v2/models/tiny/infer'] as const;

test.serial('JSON of every kind as a body', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), fc.jsonValue({ maxDepth: 6 }), async (path, body) => {
      const problem = await complaint(await running.post(path, body));
      if (problem !== null) throw new Error(problem);
    }),
    { numRuns, seed },
  );
  t.pass();
});

test.serial('requests that are nearly right', async (t) => {
  const odd = fc.oneof(
    fc.constantFrom(
      null,
      true,
      -1,
      0.5,
      2 ** 31,
      2 ** 53,
      '',
      'x',
      [],
      {},
      [[]],
      [[1], [1, 2]],
      ['1'],
      '__proto__',
    ),
    fc.jsonValue({ maxDepth: 3 }),
  );
  const right = {
    '/v1/models/tiny:explain': {
      instances: [{ b64: photo.toString('base64') }],
      class: 1,
      layer: 'features',
      method: 'gradcam',
      heatmap: 'none',
      deadline_ms: 1000,
      aug_smooth: false,
      upsample: true,
      reshape: 'none',
    },
    '/v2/models/tiny/infer': {
      id: 'a',
      parameters: { method: 'gradcam', class: 1, layer: 'features', binary_data_output: false },
      inputs: [{ name: 'x', shape: [1, 3, 2, 2], datatype: 'FP32', data: Array(12).fill(0) }],
      outputs: [{ name: 'heatmap' }],
    },
  } as const;
  const changed = fc
    .constantFrom(...(Object.keys(right) as (keyof typeof right)[]))
    .chain((path) => fc.tuple(fc.constant(path), fc.constantFrom(...Object.keys(right[path])), odd));
  await fc.assert(
    fc.asyncProperty(changed, async ([path, key, value]) => {
      const answer = await running.post(path, { ...right[path], [key]: value });
      // Some changes leave it right.
      if (answer.status === 200) return void (await answer.arrayBuffer());
      const problem = await complaint(answer);
      if (problem !== null) throw new Error(`${path} ${key}: ${problem}`);
    }),
    { numRuns, seed },
  );
  t.pass();
});

test.serial('bytes behind the JSON that do not fit it', async (t) => {
  const input = fc.record({
    name: fc.string({ maxLength: 8 }),
    shape: fc.array(fc.constantFrom(0, 1, 2, 3, 16, -1, 2 ** 31, 2 ** 53, 0.5), { maxLength: 9 }),
    datatype: fc.constantFrom('FP32', 'FP64', 'INT64', 'BOOL', 'BYTES', 'FP16', 'toString', '__proto__'),
    size: fc.oneof(fc.integer({ min: -8, max: 4096 }), fc.constantFrom(2 ** 31, 0.5, '12', null)),
  });
  await fc.assert(
    fc.asyncProperty(
      input,
      fc.uint8Array({ maxLength: 4096 }),
      fc.oneof(
        fc.constant(null),
        fc.integer({ min: -5, max: 9999 }),
        fc.constantFrom('x', '1e3', '0x10', ''),
      ),
      async ({ size, ...rest }, bytes, length) => {
        const inputs = [{ ...rest, parameters: { binary_data_size: size } }];
        const head = Buffer.from(JSON.stringify({ inputs }));
        const answer = await running.post('/v2/models/tiny/infer', Buffer.concat([head, bytes]), {
          'content-type': 'application/octet-stream',
          'inference-header-content-length': String(length ?? head.length),
        });
        const problem = await complaint(answer);
        if (problem !== null) throw new Error(problem);
      },
    ),
    { numRuns, seed },
  );
  t.pass();
});

test.serial('queries and paths of every kind', async (t) => {
  const names = fc.constantFrom(
    'class',
    'layer',
    'method',
    'top',
    'format',
    'quality',
    'deadline_ms',
    'style',
    'x',
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(names, fc.string({ unit: 'binary', maxLength: 300 })), {
        minLength: 1,
        maxLength: 4,
      }),
      fc.oneof(fc.constant('tiny'), fc.string({ unit: 'binary', minLength: 1, maxLength: 120 })),
      async (pairs, model) => {
        const query = new URLSearchParams(pairs);
        const path = `/explain/${encodeURIComponent(model)}?${query}`;
        const answer = await running.post(path, Buffer.from('no picture'));
        const problem = await complaint(answer);
        if (problem !== null) throw new Error(`${path}: ${problem}`);
      },
    ),
    { numRuns, seed },
  );
  for (const path of [
    '/explain/%zz',
    '/%',
    '//',
    '/v1/models/%00',
    `/${'a'.repeat(9000)}`,
    '/v2/models/tiny/versions/9',
  ])
    await refused(t, await running.get(path));
});

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
      const answer = await running.post('/explain/tiny?format=json', bytes);
      if (answer.status === 200) return void (await answer.arrayBuffer());
      const problem = await complaint(answer);
      if (problem !== null) throw new Error(problem);
    }),
    { numRuns: Math.ceil(numRuns / 2), seed },
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
    const answer = await running.post('/explain/tiny', bytes);
    t.is(answer.status, 400, name);
    await refused(t, answer);
  }
  await refused(t, await running.post('/v1/models/tiny:explain', b64));
  t.true(process.memoryUsage().rss - before < 400 * 1024 ** 2);
});

test.serial('an SVG cannot read files of the machine', async (t) => {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="64" height="64">
    <rect width="64" height="64" fill="white"/><image xlink:href="file://${rootPath('examples/photos/chelsea.png')}" width="64" height="64"/></svg>`;
  const answer = await running.post('/explain/tiny?image_weight=1', Buffer.from(svg));
  t.is(answer.status, 200);
  const { channels } = await sharp(Buffer.from(await answer.arrayBuffer())).stats();
  t.true(
    channels.slice(0, 3).every(({ min }) => min > 250),
    'all white: the file was not drawn',
  );
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
      await complaint(await running.post('/explain/tiny', Buffer.from(body), { 'content-type': type })),
      null,
      name,
    );
  }
});

test.serial('content types that are wrong', async (t) => {
  for (const type of [
    'text/xml',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=b',
    'a/b/c',
    '*/*',
  ])
    for (const path of paths)
      await refused(
        t,
        await running.post(path, Buffer.from('{"instances":[[1]]}'), { 'content-type': type }),
      );
  for (const encoding of ['gzip', 'br', 'nonsense'])
    await refused(
      t,
      await running.post(paths[2], Buffer.from([31, 139, 8, 0]), {
        'content-type': 'application/json',
        'content-encoding': encoding,
      }),
    );
  await refused(t, await running.get('/explain/tiny', { method: 'DELETE' }));
});

/** What comes back on a connection of our own, until the server ends it. */
async function raw(url: string, write: (socket: Socket) => Promise<void> | void): Promise<string> {
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk)).on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  await write(socket);
  await closed;
  return Buffer.concat(chunks).toString();
}

test.serial('what is not HTTP, headers that are huge, bodies that are slow or never end', async (t) => {
  const isJson = (text: string) => {
    const { error, code } = JSON.parse(text.slice(text.indexOf('\r\n\r\n'))) as {
      error: string;
      code: string;
    };
    return error !== '' && /^ERR_/.test(code);
  };
  const head = 'POST /explain/tiny HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n';
  const cases: [RegExp, Parameters<typeof raw>[1]][] = [
    [/^HTTP\/1\.1 400 /, (socket) => void socket.write('\x16\x03\x01\x02\x00 this is TLS\r\n\r\n')],
    [/^HTTP\/1\.1 400 /, (socket) => void socket.write('GET / HTTP/9.9\r\n\r\n')],
    [/^HTTP\/1\.1 400 /, (socket) => void socket.write(`${head}content-length: -5\r\n\r\n`)],
    [
      /^HTTP\/1\.1 400 /,
      (socket) => void socket.write(`${head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n`),
    ],
    [/^HTTP\/1\.1 400 /, (socket) => void socket.write(`${head}transfer-encoding: chunked\r\n\r\nzz\r\n`)],
    [
      /^HTTP\/1\.1 431 /,
      (socket) => void socket.write(`GET / HTTP/1.1\r\nhost: x\r\nx-large: ${'y'.repeat(100_000)}\r\n\r\n`),
    ],
    [/^HTTP\/1\.1 408 /, (socket) => void socket.write('GET / HTTP/1.1\r\nhost: x\r\nx-slow: ')],
    [
      /^HTTP\/1\.1 408 /,
      async (socket) => {
        socket.write(`${head}content-length: 5000\r\n\r\n`);
        while (!socket.destroyed) {
          socket.write('x');
          await sleep(50);
        }
      },
    ],
  ];
  // One that soon gives up what is slow.
  await using impatient = await startServer({ models: { tiny }, maxBatch: 1, deadlineMs: 500 });
  const answers = await Promise.all(
    cases.map(async ([expected, write]) => ({ expected, text: await raw(impatient.url, write) })),
  );
  for (const { expected, text } of answers) {
    t.regex(text, expected);
    t.true(isJson(text), text);
  }
});

test.serial('connections that end in the middle of a body', async (t) => {
  const { length } = photo;
  const { port, hostname } = new URL(running.url);
  const sockets = Array.from({ length: 30 }, (_, index) => {
    const socket = connect(Number(port), hostname);
    socket.on('error', () => {});
    socket.write(`POST /explain/tiny HTTP/1.1\r\nhost: x\r\ncontent-length: ${length}\r\n\r\n`);
    socket.write(photo.subarray(0, (length * index) / 30));
    return socket;
  });
  await untilPending(running, 30);
  for (const [index, socket] of sockets.entries())
    if (index % 2) socket.destroy();
    else socket.resetAndDestroy();
  await untilPending(running, 0);
  t.pass();
});
