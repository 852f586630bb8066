import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { fuzzedServer, tiny } from '../helpers/fuzzed-server.js';
import { photo, startServer } from '../helpers/server.js';
import { untilPending } from '../helpers/server-requests.js';

// Whatever comes over the network: the answer is a 4xx or 5xx with a JSON error, nothing of the server's inside is told,
// and the server goes on.
const server = fuzzedServer();

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
  const head = 'POST /explain/tiny HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\n';
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
      (socket) =>
        void socket.write(`GET / HTTP/1.1\r\nhost: localhost\r\nx-large: ${'y'.repeat(100_000)}\r\n\r\n`),
    ],
    [/^HTTP\/1\.1 408 /, (socket) => void socket.write('GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ')],
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
  const { port, hostname } = new URL(server().url);
  const sockets = Array.from({ length: 30 }, (_, index) => {
    const socket = connect(Number(port), hostname);
    socket.on('error', () => {});
    socket.write(`POST /explain/tiny HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${length}\r\n\r\n`);
    socket.write(photo.subarray(0, (length * index) / 30));
    return socket;
  });
  await untilPending(server(), 30);
  for (const [index, socket] of sockets.entries())
    if (index % 2) socket.destroy();
    else socket.resetAndDestroy();
  await untilPending(server(), 0);
  t.pass();
});
