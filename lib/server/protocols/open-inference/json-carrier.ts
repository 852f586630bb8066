import type { InferResult, TensorCarrier } from './infer.js';
import type { InferBody } from './schemas.js';
import { readInputs, type WrittenOutput, writeOutput } from './tensors.js';

export interface InferAnswer {
  readonly json: InferResult['head'] & { outputs: WrittenOutput[] };
  /** What goes behind the JSON, in order; empty where all is in it. */
  readonly bytes: Buffer[];
}

/** Tensors in JSON, or as bytes behind it. */
export function jsonCarrier(
  { inputs, parameters }: InferBody,
  binary: Buffer | null,
): TensorCarrier<InferAnswer> {
  return {
    read: () => readInputs(inputs, binary),
    write: ({ head, outputs }) => {
      const bytes: Buffer[] = [];
      const written = outputs.map(({ tensor, asked }) => {
        const own = asked.parameters?.binary_data;
        const result = writeOutput(
          tensor,
          own === undefined ? parameters?.binary_data_output === true : own === true,
        );
        if (result.bytes) bytes.push(result.bytes);
        return result.json;
      });
      return { json: { ...head, outputs: written }, bytes };
    },
  };
}
