import secureJson from 'secure-json-parse';
import { GradCamError } from '../../errors/errors.js';
import { packNumbers } from './packed-numbers.js';

const inputs32 = new Set(['FP32', 'FP16', 'BF16']);

/** Beside tensors, which have a bound of their own, no body of any protocol is nested as deep. */
const deepest = 16;

/**
 * The JSON of an inference, with its tensors packed: `instances` of KServe V1, `inputs` of the Open Inference Protocol.
 * @throws {GradCamError} `ERR_INVALID_REQUEST`
 */
export function readInferenceJson(text: string): unknown {
  let body: unknown;
  try {
    body = secureJson.parse(text, null, { protoAction: 'error', constructorAction: 'error' });
  } catch (cause) {
    throw new GradCamError(
      'ERR_INVALID_REQUEST',
      `The body is not valid JSON: ${(cause as Error).message}.`,
      {
        cause,
      },
    );
  }
  if (typeof body !== 'object' || body === null) return body;
  const { instances, inputs } = body as { instances?: unknown; inputs?: unknown };
  if (Array.isArray(instances)) {
    for (const index of instances.keys())
      instances[index] = packInstance(instances[index], `instances[${index}]`);
  }
  if (Array.isArray(inputs)) inputs.forEach(packInput);
  checkDepth(body);
  return body;
}

function packInstance(instance: unknown, name: string): unknown {
  if (Array.isArray(instance)) return packNumbers(instance, name, Float32Array);
  const { tensor } = (instance ?? {}) as { tensor?: unknown };
  if (!Array.isArray(tensor)) return instance;
  return { ...(instance as object), tensor: packNumbers(tensor, name, Float32Array) };
}

function packInput(input: unknown): void {
  if (typeof input !== 'object' || input === null) return;
  const fields = input as { name?: unknown; datatype?: unknown; data?: unknown };
  if (!Array.isArray(fields.data)) return;
  const { datatype } = fields;
  if (datatype === 'BYTES') fields.data = flattenTexts(fields.data);
  else
    fields.data = packNumbers(
      fields.data,
      `The input ${String(fields.name).slice(0, 200)}`,
      inputs32.has(String(datatype)) ? Float32Array : Float64Array,
    );
}

/** Elements of BYTES are flat or nested as their shape is. */
function flattenTexts(data: readonly unknown[]): unknown[] {
  const flat = data.flat(7);
  if (flat.some(Array.isArray))
    throw new GradCamError('ERR_INVALID_REQUEST', 'An input is nested more than 8 arrays deep.');
  return flat;
}

/** Whatever looks at the rest of a body may call itself for each level. */
function checkDepth(body: object): void {
  let level: unknown[] = [body];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > deepest)
      throw new GradCamError('ERR_INVALID_REQUEST', `The body is nested more than ${deepest} levels deep.`);
    const next: unknown[] = [];
    for (const each of level) {
      for (const inner of Array.isArray(each) ? each : Object.values(each as object))
        if (typeof inner === 'object' && inner !== null && !ArrayBuffer.isView(inner)) next.push(inner);
    }
    level = next;
  }
}
