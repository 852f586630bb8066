import {
  AblationCAM,
  type BaseCAM,
  EigenCAM,
  FullGrad,
  GradCAM,
  GradCAMPlusPlus,
  HiResCAM,
  LayerCAM,
  loadModel,
  type Model,
  type ModelOutput,
  Saliency,
  ScoreCAM,
  Tensor,
  type TensorData,
  XGradCAM,
} from 'node-gradcam';
import { maxDifference, noise } from './fixtures.js';

// One network of the fuzzer of models (tools/checks/fuzz_models): explained in every way, and compared with what is right.

/** Values of what is right, float32 in base64, and how far the reference's own float32 results are from them. */
interface ExpectedValues {
  readonly values: string;
  readonly error: number;
}

interface ExpectedMaps {
  readonly maps: string;
  readonly shape: readonly number[];
  /** Of each map whether it is more than rounding, scaled up. Others are not compared. */
  readonly clear: readonly boolean[];
  readonly error: number;
  /** Whether it overflows in float32, in the reference too: then it may be refused. */
  readonly overflows?: boolean;
}

export interface NetworkCase {
  readonly seed: number;
  readonly number: number;
  readonly shape: readonly number[];
  readonly inputSeed: number;
  readonly layer: string;
  readonly call: number | null;
  readonly selector: string | number | null;
  /** [targets][images] */
  readonly targets: readonly (readonly number[])[];
  readonly traced: boolean;
  /** The code that it must be refused with. */
  readonly refusal: string | null;
  readonly outputs?: readonly number[];
  readonly scores?: readonly number[];
  readonly error?: number;
  readonly methods?: Readonly<Record<string, ExpectedMaps>>;
  readonly saliency?: ExpectedValues | null;
}

export interface Verdict {
  /** What is wrong: a word for its kind, and the figures. */
  readonly faults: readonly { readonly kind: string; readonly text: string }[];
  /** Refusals that are allowed, as code and message. */
  readonly refusals: readonly string[];
  readonly mapsCompared: number;
  readonly mapsSkipped: number;
}

type MakeCam = (options: ConstructorParameters<typeof GradCAM>[0], batchSize: number) => BaseCAM;
const methods: Readonly<Record<string, MakeCam>> = {
  GradCAM: (options) => new GradCAM(options),
  HiResCAM: (options) => new HiResCAM(options),
  LayerCAM: (options) => new LayerCAM(options),
  GradCAMPlusPlus: (options) => new GradCAMPlusPlus(options),
  XGradCAM: (options) => new XGradCAM(options),
  EigenCAM: (options) => new EigenCAM(options),
  AblationCAM: (options, batchSize) => new AblationCAM({ ...options, batchSize }),
  ScoreCAM: (options, batchSize) => new ScoreCAM({ ...options, batchSize }),
};

const floatsOf = (base64: string): Float32Array => {
  const bytes = Buffer.from(base64, 'base64');
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
};
const largestOf = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((most, value) => Math.max(most, Math.abs(value)), 0);

function explained(outputs: ModelOutput, selector: NetworkCase['selector']): TensorData {
  if (outputs instanceof Tensor) return outputs.toTypedArray() as TensorData;
  // The classes' outputs are a named tuple's first element.
  const parts = outputs as Record<string | number, ModelOutput>;
  const part = parts[Array.isArray(outputs) ? 0 : (selector ?? 0)];
  return (part as Tensor).toTypedArray() as TensorData;
}

/** Collects what is wrong with one network. */
class Checker {
  readonly network: NetworkCase;
  readonly faults: { kind: string; text: string }[] = [];
  readonly refusals: string[] = [];
  mapsCompared = 0;
  mapsSkipped = 0;

  constructor(network: NetworkCase) {
    this.network = network;
  }

  compare(what: string, actual: TensorData, expected: ArrayLike<number>, error: number, scale: number): void {
    const bound = 4 * error + 1e-5 * scale;
    const difference = maxDifference(actual, expected);
    if (difference <= bound) return;
    const kind = what.split(' ').at(-1) as string;
    this.faults.push({ kind, text: `${what}: ${difference} away, where ${bound} is allowed` });
  }

  compareMaps(what: string, heatmaps: Tensor, expected: ExpectedMaps): void {
    if (`${heatmaps.shape}` !== `${expected.shape}`) {
      const text = `${what}: [${heatmaps.shape}] instead of [${expected.shape}]`;
      this.faults.push({ kind: 'shape', text });
      return;
    }
    const right = floatsOf(expected.maps);
    const actual = heatmaps.toTypedArray() as Float32Array;
    const size = right.length / expected.clear.length;
    for (const [index, clear] of expected.clear.entries()) {
      if (!clear) {
        this.mapsSkipped++;
        continue;
      }
      this.mapsCompared++;
      const part = (values: Float32Array) => values.subarray(index * size, (index + 1) * size);
      this.compare(`${what}, map ${index}: map`, part(actual), part(right), expected.error, 1);
    }
  }

  /** What must work; a refusal is noted where its code says that the network has no such explanation. */
  async try(what: string, run: () => Promise<void>, overflows = false): Promise<void> {
    try {
      await run();
      if (this.network.refusal !== null)
        this.faults.push({ kind: 'accepted', text: `${what}: works, instead of ${this.network.refusal}` });
    } catch (error) {
      const { code = 'no code', message = '' } = error as { code?: string; message?: string };
      if (code === this.network.refusal) return;
      if (code === 'ERR_UNSUPPORTED' || (overflows && code === 'ERR_NOT_FINITE')) {
        this.refusals.push(`${code}: ${message}`);
        return;
      }
      this.faults.push({ kind: code, text: `${what}: ${code}: ${message}` });
    }
  }
}

async function explainInEveryWay(check: Checker, model: Model, dtype: string, input: Tensor): Promise<void> {
  const { network } = check;
  const { layer, call, selector, outputs = [], scores = [], error = 0 } = network;
  const images = network.shape[0] as number;
  const targets = Array.from({ length: images }, (_, image) =>
    network.targets.map((classes) => classes[image] as number),
  );
  const options = {
    model,
    targetLayers: call === null ? layer : { path: layer, call },
    // What is right is computed with the second axis for the channels, of linear layers too.
    reshapeTransform: 'nchw' as const,
    ...(selector === null ? {} : { output: selector }),
  };
  for (const optimize of [true, false]) {
    for (const [method, expected] of Object.entries(network.methods ?? { GradCAM: null })) {
      const batchSizes = method === 'AblationCAM' ? [3, 64] : [4];
      for (const batchSize of batchSizes) {
        const cam = methods[method]?.({ ...options, optimize }, batchSize) as BaseCAM;
        const way = `${method} (optimize ${optimize}, ${dtype}${method === 'AblationCAM' ? `, batchSize ${batchSize}` : ''})`;
        for (const time of ['first', 'second']) {
          const once = async () => {
            const result = await cam.explain(input, { targets, upsample: false });
            if (expected === null) return;
            check.compareMaps(`${way}, ${time} time`, result.heatmaps, expected);
            const explainedOutputs = explained(result.outputs, selector);
            const scale = Math.max(1, largestOf(outputs));
            check.compare(`${way}, ${time} time: outputs`, explainedOutputs, outputs, error, scale);
            const own = Float64Array.from(result.maps, (map) => map.score);
            if (method !== 'EigenCAM')
              check.compare(`${way}, ${time} time: scores`, own, scores, error, scale);
          };
          await check.try(`${way}, ${time} time`, once, expected?.overflows);
        }
      }
    }
  }
}

async function runOtherWays(check: Checker, model: Model, input: Tensor): Promise<void> {
  const { network } = check;
  const { selector, outputs = [], error = 0, saliency } = network;
  const targets = Array.from({ length: network.shape[0] as number }, (_, image) =>
    network.targets.map((classes) => classes[image] as number),
  );
  const output = selector === null ? {} : { output: selector };
  await check.try('forward', async () => {
    const actual = explained(await model.forward(input), selector);
    check.compare('forward: outputs', actual, outputs, error, Math.max(1, largestOf(outputs)));
  });
  if (!saliency) return;
  await check.try('Saliency', async () => {
    const { attributions } = await new Saliency({ model, ...output }).attribute(input, { targets });
    const right = floatsOf(saliency.values);
    const actual = attributions.toTypedArray() as TensorData;
    check.compare('Saliency: gradient', actual, right, saliency.error, Math.max(1, largestOf(right)));
  });
  await check.try('FullGrad', async () => {
    await new FullGrad({ model, ...output }).explain(input, { targets, upsample: false });
  });
}

/** Explains a network in every way and says what is wrong, and what was refused. */
export async function checkNetwork(network: NetworkCase, path: string): Promise<Verdict> {
  const check = new Checker(network);
  const count = network.shape.reduce((product, size) => product * size, 1);
  const input = Tensor.from(noise(count, network.inputSeed), network.shape);
  const before = input.toTypedArray() as Float32Array;
  // A trace holds the element types it saw.
  const dtypes = network.traced ? (['float32'] as const) : (['float32', 'float64'] as const);
  for (const dtype of dtypes) {
    await using model = await loadModel(path, { dtype });
    await explainInEveryWay(check, model, dtype, input);
    if (dtype === 'float32' && network.refusal === null) await runOtherWays(check, model, input);
  }
  if (maxDifference(input.toTypedArray() as Float32Array, before) !== 0)
    check.faults.push({ kind: 'input', text: 'The input was changed.' });
  const { faults, refusals, mapsCompared, mapsSkipped } = check;
  return { faults, refusals: [...new Set(refusals)], mapsCompared, mapsSkipped };
}
