import test, { type ExecutionContext } from 'ava';
import { noise } from '../helpers/fixtures.js';
import { type GrpcClient, grpcClient, type Message, parameters, raw } from '../helpers/grpc-client.js';
import { fixturePath } from '../helpers/root.js';
import { type RunningServer, startServer } from '../helpers/server.js';

// What is refused over gRPC, with which status, code and message.

const pixels = 3 * 16 * 16;
const one = { name: 'x', shape: [1, 3, 16, 16], datatype: 'FP32' };
const bytes = raw(noise(pixels));
let running: RunningServer;
let client: GrpcClient;
test.before(async () => {
  running = await startServer({ models: { tiny: fixturePath('scripted.pt') }, grpcPort: 0 });
  client = grpcClient(running.server.gradcamGrpc?.address);
});
test.after.always(async () => {
  client[Symbol.dispose]();
  await running.server.close();
});

const refused = test.macro(
  async (t: ExecutionContext, method: string, request: Message, ...told: [string, string, RegExp]) => {
    const [status, code, details] = told;
    const answer = await client.call(method, request);
    t.is(answer.status, status, answer.details);
    t.is(answer.code, code);
    t.regex(answer.details, details);
    t.regex(String(answer.trailers['x-request-id']), /^[\w-]{36}$/);
    t.notRegex(answer.details, /node_modules|\.js:|\n +at /);
  },
);
const invalid = (name: string, change: Message, details: RegExp) =>
  test.serial(
    `refused: ${name}`,
    refused,
    'ModelInfer',
    { model_name: 'tiny', inputs: [one], raw_input_contents: [bytes], ...change },
    'INVALID_ARGUMENT',
    'ERR_INVALID_REQUEST',
    details,
  );
const typedInput = (change: Message, contents: Message = null) => ({
  inputs: [{ ...one, ...change, contents }],
  raw_input_contents: [],
});
invalid('no inputs', { inputs: [], raw_input_contents: [] }, /inputs/);
invalid('neither contents nor raw contents', { raw_input_contents: [] }, /neither contents nor raw/);
invalid('both', { inputs: [{ ...one, contents: { fp32_contents: [1] } }] }, /both contents and raw/);
invalid(
  'raw contents for another number of inputs',
  { raw_input_contents: [bytes, bytes] },
  /1 inputs, but 2 raw/,
);
invalid('too few bytes', { raw_input_contents: [bytes.subarray(4)] }, /holds 3068 bytes, but 768 elements/);
invalid('too many bytes', { raw_input_contents: [Buffer.concat([bytes, bytes])] }, /holds 6144 bytes/);
invalid(
  'too few numbers',
  typedInput({}, { fp32_contents: [1, 2] }),
  /holds 2 numbers, but its shape says 768/,
);
invalid(
  'contents of another type',
  typedInput({ shape: [1] }, { int_contents: [1] }),
  /is FP32, whose contents are in fp32_contents, but has int_contents/,
);
invalid(
  'contents of two types',
  typedInput({ shape: [1] }, { fp32_contents: [1], int_contents: [1] }),
  /but has int_contents/,
);
invalid('typed FP16', typedInput({ datatype: 'FP16' }, { fp32_contents: [1] }), /sent raw only/);
invalid(
  'an INT64 that no number of JSON holds',
  typedInput({ datatype: 'INT64', shape: [1] }, { int64_contents: ['9007199254740993'] }),
  /INT64, but holds 9007199254740992/,
);
invalid(
  'more integers than are taken',
  typedInput({ datatype: 'BOOL' }, { bool_contents: Array(2 ** 22 + 1).fill(true) }),
  /more than 4194304 integers in typed contents; send large tensors raw/,
);
invalid(
  'a datatype that is not supported',
  { inputs: [{ ...one, datatype: 'UINT16' }] },
  /UINT16, which is not/,
);
invalid('a shape of none', { inputs: [{ ...one, shape: [] }] }, /shape/);
invalid('a negative shape', { inputs: [{ ...one, shape: [-1, 3, 16, 16] }] }, /shape/);
invalid('an enormous shape', { inputs: [{ ...one, shape: [1e9, 1e9, 9, 9] }] }, /too large/);
invalid('a shape of nine', { inputs: [{ ...one, shape: Array(9).fill(1) }] }, /more than 8 dimensions/);
invalid(
  'a cut-off element',
  { inputs: [{ ...one, shape: [1], datatype: 'BYTES' }], raw_input_contents: [Buffer.from([9, 0, 0, 0, 1])] },
  /cut off/,
);
invalid('an output that there is not', { outputs: [{ name: 'heat' }] }, /no output heat\. There is: output/);
invalid('a method that there is not', { parameters: parameters({ method: 'magic' }) }, /parameters\.method/);
invalid('a parameter without a value', { parameters: { method: {} } }, /method has no value/);
invalid(
  'arguments that are no JSON',
  { parameters: parameters({ arguments: '{' }) },
  /arguments: It is not JSON/,
);
invalid('a name that no model has', { model_name: '../tiny' }, /named with letters/);
invalid('33 inputs', { inputs: Array(33).fill(one) }, /more than 32 inputs/);
invalid('33 outputs', { outputs: Array(33).fill({ name: 'output' }) }, /more than 32 outputs/);
test.serial(
  'refused: an unknown model',
  refused,
  'ModelInfer',
  { model_name: 'tinny', inputs: [one], raw_input_contents: [bytes] },
  'NOT_FOUND',
  'ERR_UNKNOWN_MODEL',
  /Is it tiny\?/,
);
test.serial(
  'refused: an unknown version',
  refused,
  'ModelMetadata',
  { name: 'tiny', version: '7' },
  'NOT_FOUND',
  'ERR_UNKNOWN_MODEL',
  /no version 7/,
);
test.serial(
  'refused: an unknown layer',
  refused,
  'ModelInfer',
  {
    model_name: 'tiny',
    inputs: [one],
    raw_input_contents: [bytes],
    parameters: parameters({ layer: 'layr2' }),
  },
  'INVALID_ARGUMENT',
  'ERR_UNKNOWN_LAYER',
  /layer2/,
);
test.serial(
  'refused: NaN',
  refused,
  'ModelInfer',
  {
    model_name: 'tiny',
    inputs: [one],
    raw_input_contents: [raw(new Float32Array(pixels).fill(Number.NaN))],
    parameters: parameters({ class: 1 }),
  },
  'INVALID_ARGUMENT',
  'ERR_INPUT_NOT_FINITE',
  /NaN|finite/,
);
test.serial(
  'refused: a picture that is none',
  refused,
  'ModelInfer',
  {
    model_name: 'tiny',
    inputs: [{ ...one, shape: [1], datatype: 'BYTES', contents: { bytes_contents: [Buffer.from('x')] } }],
  },
  'INVALID_ARGUMENT',
  'ERR_IMAGE_LOAD',
  /Cannot read/,
);
test.serial(
  'refused: loading without --model-control',
  refused,
  'RepositoryModelLoad',
  { model_name: 'tiny' },
  'PERMISSION_DENIED',
  'ERR_MODEL_CONTROL',
  /--model-control/,
);
