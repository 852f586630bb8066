import { readFileSync } from 'node:fs';
import { type CreateServerOptions, createServer, type ExplainServer } from 'node-gradcam/server';
import { liteModel } from './fixtures.js';
import { rootPath } from './root.js';

export const photoPath: string = rootPath('examples/photos/chelsea.png');
export const photo: Buffer = readFileSync(photoPath);

export interface RunningServer extends AsyncDisposable {
  readonly server: ExplainServer;
  readonly url: string;
  /** fetch with the server's address before the path. */
  readonly get: (path: string, init?: RequestInit) => Promise<Response>;
  readonly post: (path: string, body: unknown, headers?: Record<string, string>) => Promise<Response>;
}

/** A server on a free port of loopback, with its models loaded and warm. */
export async function startServer(
  options: Partial<CreateServerOptions> = {},
  { wait = true }: { wait?: boolean } = {},
): Promise<RunningServer> {
  const server = createServer({ models: { lite: liteModel }, ...options });
  const url = await server.listen({ port: 0 });
  if (wait) await server.gradcamModels.whenLoaded();
  const get = (path: string, init?: RequestInit) => fetch(url + path, init);
  return {
    server,
    url,
    get,
    post: (path, body, headers = {}) => {
      const bytes = body instanceof Uint8Array || body instanceof FormData;
      return get(path, {
        method: 'POST',
        body: (bytes ? body : JSON.stringify(body)) as NonNullable<RequestInit['body']>,
        headers: bytes ? headers : { 'content-type': 'application/json', ...headers },
      });
    },
    [Symbol.asyncDispose]: () => server.close(),
  };
}

/** One binary input behind the JSON of an inference request, as Triton's extension has it. */
export function binaryInference(
  json: { inputs: Record<string, unknown>[]; [key: string]: unknown },
  ...tensors: readonly ArrayBufferView[]
): { body: Buffer; headers: Record<string, string> } {
  const bytes = tensors.map((each) => Buffer.from(each.buffer, each.byteOffset, each.byteLength));
  const inputs = json.inputs.map((input, index) => ({
    ...input,
    parameters: { binary_data_size: bytes[index]?.length ?? 0 },
  }));
  const head = Buffer.from(JSON.stringify({ ...json, inputs }));
  return {
    body: Buffer.concat([head, ...bytes]),
    headers: {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': String(head.length),
    },
  };
}

export interface InferOutput {
  readonly name: string;
  readonly shape: number[];
  readonly datatype: string;
  readonly data?: number[];
  readonly parameters?: { readonly binary_data_size: number };
}

/** The outputs of an inference by name, with the bytes of each that stand behind the JSON. */
export async function readInference(response: Response): Promise<{
  json: { model_name: string; model_version: string; id?: string; parameters?: Record<string, unknown> };
  outputs: Record<string, InferOutput & { bytes: Buffer | null }>;
}> {
  const body = Buffer.from(await response.arrayBuffer());
  const length = response.headers.get('inference-header-content-length');
  let position = length === null ? body.length : Number(length);
  const json = JSON.parse(body.toString('utf8', 0, position));
  const outputs: Record<string, InferOutput & { bytes: Buffer | null }> = {};
  for (const output of json.outputs as InferOutput[]) {
    const size = output.parameters?.binary_data_size;
    // Copied, so that typed arrays can be made of it whatever its position.
    const bytes =
      size === undefined
        ? null
        : Buffer.from(new Uint8Array(body.subarray(position, position + size)).buffer);
    position += size ?? 0;
    outputs[output.name] = { ...output, bytes };
  }
  return { json, outputs };
}

export function floatsOf(bytes: Buffer | null): Float32Array {
  if (bytes === null) throw new Error('The output is not binary.');
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
