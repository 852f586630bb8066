import type { z } from 'zod';
import type { ServedModel } from '../../models/served-model.js';
import type { modelConfig, modelMetadata, tensorMetadata } from './schemas.js';
import { datatypeOf } from './tensors.js';

// What the server and its models tell of themselves, over HTTP and gRPC, to clients of the protocol and of Triton.

export function describeServer(version: string) {
  return {
    name: 'node-gradcam',
    version,
    extensions: ['binary_tensor_data', 'model_configuration', 'model_repository', 'parameters', 'statistics'],
  };
}

export type ModelConfig = z.output<typeof modelConfig>;

type Described = z.output<typeof tensorMetadata>;

const platforms = { exported: 'pytorch_exported_program', torchscript: 'pytorch_torchscript' } as const;

/** -1 stands for any size: the first dimension is the images', or the maps'. */
function describeTensors(served: ServedModel): { inputs: Described[]; outputs: Described[] } {
  const { sidecar, outputs, task } = served;
  const [channels, height, width] = sidecar || task === 'clip' ? served.inputShape : [-1, -1, -1];
  const shapes = {
    heatmap: { datatype: 'FP32', shape: [-1, height, width] },
    scores: { datatype: 'FP32', shape: [-1] },
    classes: { datatype: 'INT64', shape: [-1] },
    images: { datatype: 'INT64', shape: [-1] },
    ...(task === 'detection' ? { boxes: { datatype: 'FP32', shape: [-1, 4] } } : {}),
    ...(task === 'clip' ? { similarities: { datatype: 'FP32', shape: [-1] } } : {}),
  };
  // Of a detector it is the boxes'.
  const isAnySize = (length: number) => length === 1 || served.model.takesImageList;
  const own = outputs?.map(({ path, dtype, shape }) => ({
    name: ['output', ...path].join('.'),
    datatype: datatypeOf(dtype),
    shape: shape.map((length, index) => (index === 0 && isAnySize(length) ? -1 : length)),
  })) ?? [{ name: 'output', datatype: 'FP32', shape: [-1, sidecar?.labels?.length ?? -1] }];
  return {
    inputs: [{ name: 'input', datatype: 'FP32', shape: [-1, channels, height, width] }],
    outputs: [...own, ...Object.entries(shapes).map(([name, shape]) => ({ name, ...shape }))],
  };
}

export function describeModel(served: ServedModel): z.output<typeof modelMetadata> {
  return {
    name: served.name,
    versions: [served.version],
    platform: platforms[served.model.format],
    ...describeTensors(served),
  };
}

/** As much of Triton's ModelConfig as is true here. Dimensions are without the images'. */
export function configOf(served: ServedModel): z.output<typeof modelConfig> {
  const { inputs, outputs } = describeTensors(served);
  const tensor = ({ name, datatype, shape }: Described) => ({
    name,
    data_type: `TYPE_${datatype}`,
    dims: shape.slice(1),
  });
  const { device } = served.model;
  const [kind, index] = device.split(':');
  return {
    name: served.name,
    platform: platforms[served.model.format],
    backend: 'node-gradcam',
    version_policy: { latest: { num_versions: 1 } },
    max_batch_size: served.largestPart,
    input: inputs.map((each) => ({ ...tensor(each), format: 'FORMAT_NCHW' })),
    output: outputs.map(tensor),
    instance_group: [
      {
        name: served.name,
        kind: kind === 'cpu' ? 'KIND_CPU' : 'KIND_GPU',
        count: 1,
        gpus: kind === 'cpu' ? [] : [Number(index ?? 0)],
      },
    ],
    dynamic_batching: { max_queue_delay_microseconds: Math.round(served.maxDelayMs * 1000) },
  };
}
