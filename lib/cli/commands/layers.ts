import { Command } from 'commander';
import type { InspectedLayer, Inspection, Layer } from '../../model/model.js';
import { describePlan, type PlanDescription } from '../../model/plan.js';
import { spellLayer } from '../../model/target-layers.js';
import { elementCount } from '../../tensor/element-count.js';
import { Tensor } from '../../tensor/tensor.js';
import {
  addModelOptions,
  collect,
  loadDescribed,
  type ModelFlags,
  parseInputSize,
  reshapeName,
  sidecarOf,
  warningLines,
} from '../options/arguments.js';
import { printJson } from '../terminal/each-image.js';

interface LayersFlags extends ModelFlags {
  readonly inputSize?: number[];
  readonly plan?: string[];
  readonly graphs?: boolean;
  readonly json?: boolean;
}

export function layersCommand(signal: AbortSignal): Command {
  const command = new Command('layers')
    .summary("list a model's layers and shapes")
    .description('Lists the layers of a model, and with an input size their output shapes.')
    .argument('<model>', 'model file (.pt2 or .pt)')
    .option(
      '--input-size <size>',
      'run the model once on zeros of this size: 224, 224x320 (height x width) or 1x3x224x224; default: what the sidecar says',
      parseInputSize,
    )
    .option(
      '--plan <layer>',
      'instead: how an explain at these layers would run the model; may be repeated',
      collect,
    )
    .option('--graphs', 'with --plan: also print the graphs of both parts, as LibTorch writes them')
    .option('--json', 'print JSON instead of text');
  return addModelOptions(command).action(async (modelPath: string, flags: LayersFlags) => {
    await listLayers(modelPath, flags, signal);
  });
}

async function listLayers(modelPath: string, flags: LayersFlags, signal: AbortSignal): Promise<void> {
  const sidecar = await sidecarOf(modelPath, flags);
  await using model = await loadDescribed(modelPath, sidecar, flags, signal);
  const input = sidecar?.input;
  const plan = flags.plan ? await describePlan(model, flags.plan, { signal }) : null;
  const size = flags.inputSize ?? (input ? [1, input.channels ?? 3, input.height, input.width] : null);
  const inspection = size && !plan ? await model.inspect(zeros(size), { signal }) : null;
  const layers = inspection?.layers ?? model.layers();
  const { warnings } = model;
  if (flags.json) {
    const { suggested = null, suggestionFailure = null } = inspection ?? {};
    printJson({ model: modelPath, layers, suggested, suggestionFailure, plan, warnings });
    return;
  }
  if (plan) {
    printPlan(plan, flags.plan ?? [], flags.graphs ?? false);
    return;
  }
  printTree(layers, inspection);
  const lines = warningLines(model);
  if (lines.length > 0) console.log(`\n${lines.join('\n')}`);
}

function printPlan(plan: PlanDescription, layers: readonly string[], graphs: boolean): void {
  const { prefix, tail } = plan;
  console.log(`How an explain at ${layers.join(', ')} runs the model:\n`);
  console.log(
    `  before the layer   ${prefix.nodes} operations, without gradients${plan.precision === 'bfloat16' ? ', in bfloat16' : ''}`,
  );
  console.log(
    `  handed over        ${plan.crossingValues} ${plan.crossingValues === 1 ? 'value' : 'values'}`,
  );
  console.log(`  from the layer on  ${tail.nodes} operations, recorded for the gradient`);
  console.log(
    `  in both            ${plan.fusedConvolutions} convolutions and ${plan.fusedLinears} linear layers fused, with`,
  );
  console.log(
    `                     ${plan.foldedBatchNorms} BatchNorms and ${plan.fusedOperations} additions, factors and activations inside`,
  );
  if (plan.fusedBatchNorms > 0) {
    console.log(
      `                     ${plan.fusedBatchNorms} more BatchNorms with the concatenation before and the ReLU behind`,
    );
  }
  if (!graphs) return;
  console.log(`\n--- before the layer\n${prefix.graph}\n--- from the layer on\n${tail.graph}`);
}

/** "224" is 1x3x224x224, "224x320" is 1x3x224x320; more numbers are the whole shape. */
function zeros(size: readonly number[]): Tensor {
  const [height = 1, width = height] = size;
  const shape = size.length > 2 ? size : [1, 3, height, width];
  return Tensor.from(new Float32Array(elementCount(shape)), shape);
}

function printTree(layers: readonly (Layer | InspectedLayer)[], inspection: Inspection | null): void {
  if (layers.length === 0) {
    console.log('The model has no layers: it was frozen, or its forward uses functions only.');
    return;
  }
  const rows = layers.map((layer) => ({
    name: `${'  '.repeat(layer.depth)}${layer.path.split('.').at(-1)}`,
    type: layer.type,
    shape: 'calls' in layer ? describeOutputs(layer) : '',
    mark: inspection?.suggested?.path === layer.path ? '  <- suggested' : '',
  }));
  const nameWidth = Math.max(...rows.map(({ name }) => name.length));
  const typeWidth = Math.max(...rows.map(({ type }) => type.length));
  for (const { name, type, shape, mark } of rows) {
    console.log(`${name.padEnd(nameWidth)}  ${type.padEnd(typeWidth)}  ${shape}${mark}`.trimEnd());
  }
  if (inspection?.suggested) {
    const { path, reason, reshapeTransform } = inspection.suggested;
    console.log(`\nSuggested: ${path}, ${reason}`);
    if (reshapeTransform) console.log(`           --reshape ${reshapeName(reshapeTransform)}`);
  } else {
    console.log(
      inspection
        ? `\nNo suggestion: ${inspection.suggestionFailure}`
        : '\nAdd --input-size for output shapes.',
    );
  }
}

function describeOutputs({ calls, outputShapes, outputs }: InspectedLayer): string {
  if (calls === 0) return '(not called)';
  const shape = outputShapes.at(-1);
  const parts = outputs.map(({ output, shape }) => `${spellLayer('', output)}: [${shape.join(', ')}]`);
  const given = shape ? `[${shape.join(', ')}]` : parts.join('  ') || '(no tensor)';
  return `${given}${calls > 1 ? `  called ${calls} times` : ''}`;
}
