import type { ServedModel } from '../../models/served-model.js';
import { outputNames } from './infer.js';

// What the server and its models tell of themselves, over HTTP and gRPC.

export function describeServer(version: string) {
  return { name: 'node-gradcam', version, extensions: ['binary_tensor_data', 'model_repository'] };
}

export interface TensorDescription {
  readonly name: string;
  readonly datatype: 'FP32' | 'INT64';
  /** -1 for any size. */
  readonly shape: number[];
}

export interface ModelDescription {
  readonly name: string;
  readonly versions: string[];
  readonly platform: string;
  readonly inputs: TensorDescription[];
  readonly outputs: TensorDescription[];
}

export function describeModel(served: ServedModel): ModelDescription {
  const { sidecar } = served;
  const [channels, height, width] = sidecar ? served.inputShape : ([-1, -1, -1] as const);
  const classes = sidecar?.labels?.length ?? -1;
  const shapes = {
    output: { datatype: 'FP32', shape: [-1, classes] },
    heatmap: { datatype: 'FP32', shape: [-1, height, width] },
    scores: { datatype: 'FP32', shape: [-1] },
    classes: { datatype: 'INT64', shape: [-1] },
    images: { datatype: 'INT64', shape: [-1] },
  } as const;
  return {
    name: served.name,
    versions: [served.version],
    platform: 'pytorch_torchscript',
    inputs: [{ name: 'input', datatype: 'FP32', shape: [-1, channels, height, width] }],
    outputs: outputNames.map((name) => {
      const { datatype, shape } = shapes[name];
      return { name, datatype, shape: [...shape] };
    }),
  };
}

export interface TensorConfig {
  readonly name: string;
  readonly data_type: string;
  /** Without the first, of the images. */
  readonly dims: number[];
}

/** As much of Triton's ModelConfig as is true here. */
export interface ModelConfig {
  readonly name: string;
  readonly platform: string;
  readonly backend: string;
  readonly version_policy: { readonly latest: { readonly num_versions: number } };
  readonly max_batch_size: number;
  readonly input: (TensorConfig & { readonly format: 'FORMAT_NCHW' })[];
  readonly output: TensorConfig[];
  readonly instance_group: {
    readonly name: string;
    readonly kind: string;
    readonly count: number;
    readonly gpus: number[];
  }[];
  readonly dynamic_batching: { readonly max_queue_delay_microseconds: number };
}

export function configOf(served: ServedModel): ModelConfig {
  const { name, platform, inputs, outputs } = describeModel(served);
  const tensor = ({ name, datatype, shape }: TensorDescription) => ({
    name,
    data_type: `TYPE_${datatype}`,
    dims: shape.slice(1),
  });
  const [kind, index] = served.model.device.split(':');
  return {
    name,
    platform,
    backend: 'node-gradcam',
    version_policy: { latest: { num_versions: 1 } },
    max_batch_size: served.largestPart,
    input: inputs.map((each) => ({ ...tensor(each), format: 'FORMAT_NCHW' })),
    output: outputs.map(tensor),
    instance_group: [
      {
        name,
        kind: kind === 'cpu' ? 'KIND_CPU' : 'KIND_GPU',
        count: 1,
        gpus: kind === 'cpu' ? [] : [Number(index ?? 0)],
      },
    ],
    dynamic_batching: { max_queue_delay_microseconds: Math.round(served.maxDelayMs * 1000) },
  };
}
