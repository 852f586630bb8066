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
