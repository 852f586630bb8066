import type { Call } from '../../calls/call.js';
import type { TensorCarrier } from './infer.js';
import type { InferBody } from './schemas.js';
import { readInputs, writeOutput } from './tensors.js';

export interface InferAnswer {
  /** The JSON. */
  readonly head: Buffer;
  /** What goes behind the JSON, in order; empty where all is in it. */
  readonly bytes: Buffer[];
}

/** Tensors in JSON, or as bytes behind it. */
export function jsonCarrier(
  call: Call,
  { inputs, outputs: asked, parameters }: InferBody,
  binary: Buffer | null,
): TensorCarrier<InferAnswer> {
  const isBinary = (output: string): boolean => {
    const own = asked?.find(({ name }) => name === output)?.parameters?.binary_data;
    return own === undefined ? parameters?.binary_data_output === true : own === true;
  };
  return {
    read: () => readInputs(inputs, binary),
    formOf: (output) => (isBinary(output) ? 'binary' : 'array'),
    write: async ({ head, outputs }) => {
      const bytes: Buffer[] = [];
      const written = outputs.map(({ tensor }) => {
        const result = writeOutput(tensor, isBinary(tensor.name));
        if (result.bytes) bytes.push(result.bytes);
        return result.json;
      });
      return { head: await call.writeJson({ ...head, outputs: written }), bytes };
    },
  };
}
