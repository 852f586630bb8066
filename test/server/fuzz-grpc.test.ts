import { connect } from 'node:http2';
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import test from 'ava';
import fc from 'fast-check';
import { noise } from '../helpers/fixtures.js';
import { fuzzedServer, runs } from '../helpers/fuzzed-server.js';
import { inferBytes, parameters, raw } from '../helpers/grpc-client.js';

// Whatever comes to the port of gRPC: the answer has a status that is not a defect's, nothing of the server's inside is told,
// and the server goes on.
const server = fuzzedServer({ grpcPort: 0 });

let made: Client | undefined;
const client = () => {
  const address = server().server.gradcamGrpc?.address ?? '';
  made ??= new Client(address, credentials.createInsecure(), { 'grpc.max_send_message_length': -1 });
  return made;
};
test.after.always(() => made?.close());

const same = (bytes: Buffer) => bytes;
const methods = [
  'ModelInfer',
  'ModelReady',
  'ModelMetadata',
  'ModelConfig',
  'ModelStatistics',
  'RepositoryIndex',
  'RepositoryModelLoad',
] as const;

/** The failure that a message is answered with; null where it is answered. */
function call(method: string, bytes: Buffer): Promise<ServiceError | null> {
  const path = `/inference.GRPCInferenceService/${method}`;
  return new Promise((resolve) => {
    client().makeUnaryRequest(path, same, same, bytes, (error) => resolve(error));
  });
}

async function answered(method: string, message: Buffer): Promise<void> {
  const error = await call(method, message);
  if (!error) return;
  const { code, details, metadata } = error;
  const isDefect = [status.INTERNAL, status.UNKNOWN, status.CANCELLED].includes(code);
  const tells = /node_modules|\.js:\d|\n +at |\/dist\/|aten::|\.cpp/.test(details);
  if (metadata.get('gradcam-code').length === 0 || isDefect || tells)
    throw new Error(`${method}: ${status[code]} ${details}`);
}

const right = inferBytes({
  model_name: 'tiny',
  id: 'a',
  parameters: parameters({ method: 'gradcam', class: 1, upsample: true, deadline_ms: 60_000 }),
  inputs: [
    { name: 'x', shape: [1, 3, 16, 16], datatype: 'FP32' },
    { name: 'class', shape: [1], datatype: 'INT64' },
  ],
  outputs: [{ name: 'heatmap', parameters: parameters({ binary_data: true }) }],
  raw_input_contents: [raw(noise(3 * 16 * 16)), raw(BigInt64Array.from([1n]))],
});
const typed = inferBytes({
  model_name: 'tiny',
  inputs: [
    { name: 'x', shape: [1, 3, 2, 2], datatype: 'FP32', contents: { fp32_contents: Array(12).fill(0.5) } },
    { name: 'class', shape: [2], datatype: 'INT64', contents: { int64_contents: [1, 2] } },
  ],
});

test.serial('bytes of every kind as a message', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...methods), fc.uint8Array({ maxLength: 300 }), (method, bytes) =>
      answered(method, Buffer.from(bytes)),
    ),
    runs,
  );
  t.pass();
});

test.serial('messages that are nearly right', async (t) => {
  const change = fc.record({
    at: fc.nat(),
    byte: fc.nat(255),
    kind: fc.constantFrom('set', 'insert', 'cut'),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(right, typed),
      fc.array(change, { minLength: 1, maxLength: 4 }),
      async (message, changes) => {
        let bytes = Buffer.from(message);
        // The tensors at the end are not what is interesting.
        for (const { at, byte, kind } of changes) {
          const place = at % Math.min(bytes.length, 250);
          if (kind === 'set') bytes[place] = byte;
          if (kind === 'insert')
            bytes = Buffer.concat([bytes.subarray(0, place), Buffer.from([byte]), bytes.subarray(place)]);
          if (kind === 'cut') bytes = bytes.subarray(0, Math.max(1, bytes.length - place));
        }
        await answered('ModelInfer', bytes);
      },
    ),
    runs,
  );
  t.pass();
});

/** A field of kind 2. */
function field(number: number, value: Buffer): Buffer {
  const length: number[] = [];
  let rest = value.length;
  do {
    length.push(rest >= 128 ? (rest & 127) | 128 : rest);
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.concat([Buffer.from([number * 8 + 2, ...length]), value]);
}
const many = (bytes: readonly number[]) => Buffer.alloc(1_900_000, Buffer.from(bytes));
/** Each would become millions of objects, and is refused before it does. */
const large: Readonly<Record<string, readonly [Buffer, RegExp]>> = {
  'inputs that are empty': [many([0x2a, 0]), /more than 32 inputs/],
  'outputs that are empty': [many([0x32, 0]), /more than 32 outputs/],
  'raw contents that are empty': [many([0x3a, 0]), /more than 32 raw contents/],
  'parameters that are empty': [many([0x22, 0]), /more than 256 parameters/],
  'dimensions of an input': [field(5, field(3, many([1]))), /more than 8 dimensions/],
  'parameters of an input': [field(5, many([0x22, 0])), /more than 256 parameters/],
  'contents of an input': [field(5, many([0x2a, 0])), /contents twice/],
  'pictures that are empty': [field(5, field(5, many([0x42, 0]))), /more than 256 elements of BYTES/],
  'groups in one another': [many([0x43]), /kind that is not used/],
  'parameters of an output': [field(6, many([0x12, 0])), /more than 256 parameters/],
};
for (const [name, [bytes, refused]] of Object.entries(large)) {
  test.serial(`a million ${name}`, async (t) => {
    t.regex((await call('ModelInfer', bytes))?.details ?? '', refused);
  });
}

test.serial('what is no gRPC, and what is no HTTP/2', async (t) => {
  const { hostname, port } = new URL(`http://${server().server.gradcamGrpc?.address}`);
  const session = connect(`http://${hostname}:${port}`);
  const statusOf = (headers: Record<string, string>) =>
    new Promise((resolve) => {
      const stream = session.request({ ':method': 'POST', ...headers });
      stream.on('response', (told) => resolve([told[':status'], told['grpc-status']]));
      stream.end();
      stream.resume();
    });
  const grpc = { 'content-type': 'application/grpc', te: 'trailers' };
  t.deepEqual(await statusOf({ ':path': '/', 'content-type': 'text/plain' }), [415, undefined]);
  t.deepEqual(await statusOf({ ':path': '/none.Service/Method', ...grpc }), [200, '12']);
  session.destroy();
  await t.throwsAsync(fetch(`http://${hostname}:${port}/`));
});
