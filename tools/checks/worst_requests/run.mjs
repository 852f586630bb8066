// npm run check:worst-requests: what the server allows, at its worst, eight at once. Its event loop must stay quick and its
// memory within what docs/server.md promises.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { commandOf, parseWhole } from '../command.mjs';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const mebibyte = 1024 ** 2;

const options = commandOf(
  'check:worst-requests',
  'Sends the largest requests that the server allows by default.',
)
  .option('--at-once <count>', 'requests at once', parseWhole, 8)
  .option('--rounds <count>', 'times that each kind is sent', parseWhole, 2)
  .option('--lateness <ms>', 'most that the event loop may be late, 99 of 100 times', parseWhole, 50)
  .option('--only <name>', 'one kind')
  .parse()
  .opts();

const port = 18_000 + (process.pid % 1000);
const model = join(root, 'test', 'fixtures', 'scripted.pt');
const server = spawn(
  process.execPath,
  [
    join(root, 'dist', 'lib', 'cli', 'main.js'),
    'serve',
    '-m',
    `lite=${model}`,
    '--port',
    String(port),
    '--log-level',
    'error',
  ],
  { stdio: ['ignore', 'ignore', 'inherit'] },
);
process.once('exit', () => server.kill('SIGKILL'));
const url = `http://127.0.0.1:${port}`;

async function figures() {
  const text = await (await fetch(`${url}/metrics`)).text();
  const read = (name) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
  // Node's histogram looks every 10 ms, and counts them.
  return {
    rss: read('process_resident_memory_bytes'),
    late: read('nodejs_eventloop_lag_p99_seconds') * 1000 - 10,
  };
}

async function photoOf(width, height) {
  const noise = Buffer.allocUnsafe(512 * 512 * 3);
  for (let index = 0, state = 1; index < noise.length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    noise[index] = state >>> 24;
  }
  return await sharp(noise, { raw: { width: 512, height: 512, channels: 3 } })
    .resize(width, height, { fit: 'fill' })
    .jpeg({ quality: 60 })
    .toBuffer();
}

const json = (path, body) => ({
  path,
  body: typeof body === 'string' ? body : JSON.stringify(body),
  headers: { 'content-type': 'application/json' },
});
const numbers = (count) => Array.from({ length: count }, (_, index) => (index % 997) / 997).join(',');

/** The largest of each kind; what one request may take is 256 MiB, a body 32 MiB, a picture 50 million pixels. */
async function kinds() {
  const large = await photoOf(8000, 6200);
  const medium = await photoOf(5000, 4000);
  const deep = await sharp(await photoOf(2400, 2000))
    .toColourspace('rgb16')
    .png({ compressionLevel: 1 })
    .toBuffer();
  const small = (await photoOf(300, 300)).toString('base64');
  const picture = (query, body) => ({ path: `/explain/lite?${query}`, body, headers: {} });
  const pixels = 3 * 224 * 224;
  const plane = `[[${Array.from({ length: 224 }, () => numbers(224)).join('],[')}]]`;
  return {
    'a photo of 50 million pixels, drawn on': picture('original=true&format=jpeg', large),
    'a photo of 20 million pixels as numbers': picture('original=true&top=3&format=npy', medium),
    'a photo of 16 bits': picture('original=true&format=png', deep),
    'five classes as JSON': picture(
      `format=json&${Array.from({ length: 5 }, (_, index) => `class=${index}`).join('&')}`,
      medium,
    ),
    'maps as nested numbers': json('/v1/models/lite:explain', {
      instances: Array.from({ length: 40 }, () => ({ b64: small })),
      class: [0, 1, 2, 3, 4],
    }),
    'a body of 32 MiB of numbers': json(
      '/v2/models/lite/infer',
      `{"inputs":[{"name":"input","datatype":"FP32","shape":[10,3,224,224],"data":[${numbers(10 * pixels)}]}],"outputs":[{"name":"heatmap"}]}`,
    ),
    'nested numbers, 32 MiB': json(
      '/v1/models/lite:predict',
      `{"instances":[${Array.from({ length: 10 }, () => `[${Array.from({ length: 3 }, () => plane).join(',')}]`).join(',')}]}`,
    ),
    '256 pictures of one request': json('/v1/models/lite:explain', {
      instances: Array.from({ length: 256 }, () => ({ b64: small })),
      heatmap: 'none',
    }),
    'a picture of 24 MiB in base64': json('/v1/models/lite:explain', {
      instances: [{ b64: large.toString('base64') }],
      heatmap: 'base64',
    }),
    'a photo of 20 million pixels, four maps as contours': picture(
      'original=true&top=4&style=contour&format=png',
      medium,
    ),
  };
}

for (;;) {
  const ready = await fetch(`${url}/v2/health/ready`).catch(() => null);
  if (ready?.ok) break;
  if (server.exitCode !== null) process.exit(1);
  await sleep(100);
}
const requests = await kinds();
// What is quiet has answered before.
await fetch(`${url}/explain/lite`, { method: 'POST', body: await photoOf(640, 480) });
await sleep(2000);
const quiet = await figures();
console.log(`quiet: ${Math.round(quiet.rss / mebibyte)} MiB\n`);
console.log(['late (99 of 100)', 'most memory', 'seconds', 'answers', 'kind'].join('  '));

let failed = false;
for (const [name, { path, body, headers }] of Object.entries(requests)) {
  if (options.only && !name.includes(options.only)) continue;
  await figures(); // the lateness is counted anew
  let [rss, late] = [0, 0];
  let watching = true;
  const watch = (async () => {
    while (watching) {
      await sleep(1000);
      const now = await figures();
      rss = Math.max(rss, now.rss);
      late = Math.max(late, now.late);
    }
  })();
  const started = performance.now();
  const statuses = {};
  for (let round = 0; round < options.rounds; round++) {
    await Promise.all(
      Array.from({ length: options.atOnce }, async () => {
        // What compressing costs is bounded by its level, and the client's to pay as well.
        const plain = { ...headers, 'accept-encoding': 'identity' };
        const response = await fetch(url + path, { method: 'POST', body, headers: plain });
        for await (const _ of response.body) {
          // read as it comes: the answer is nobody's to keep
        }
        statuses[response.status] = (statuses[response.status] ?? 0) + 1;
      }),
    );
  }
  const seconds = (performance.now() - started) / 1000;
  watching = false;
  await watch;
  const told = Object.entries(statuses)
    .map(([status, count]) => `${count} x ${status}`)
    .join(', ');
  const isLate = late > options.lateness;
  failed ||= isLate;
  console.log(
    [
      `${late.toFixed(1)} ms${isLate ? ' LATE' : ''}`.padStart(16),
      `${Math.round(rss / mebibyte)} MiB`.padStart(11),
      seconds.toFixed(1).padStart(7),
      told,
      name,
    ].join('  '),
  );
}
server.kill('SIGTERM');
await once(server, 'exit');
process.exitCode = failed ? 1 : 0;
