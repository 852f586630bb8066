import {
  AblationCAM,
  type BaseCAM,
  type CAMOptions,
  EigenCAM,
  EigenGradCAM,
  FEM,
  FinerCAM,
  FullGrad,
  GradCAM,
  GradCAMElementWise,
  GradCAMPlusPlus,
  HiResCAM,
  KPCACAM,
  LayerCAM,
  type LoadModelOptions,
  loadModel,
  RandomCAM,
  RefineCAM,
  ScoreCAM,
  SegEigenCAM,
  ShapleyCAM,
  SmoothGradCAMPlusPlus,
  XGradCAM,
} from 'node-gradcam';
import { onGpu, photoTensor, values } from '../helpers/cuda.js';
import { liteModel, maxDifference } from '../helpers/fixtures.js';

// Every method on the GPU against the same on the CPU, on a real model and a real photo. The CPU's are compared with
// pytorch-grad-cam in float64 elsewhere, and with GRADCAM_TEST_DEVICE=cuda so are the GPU's.

const methods: Record<string, (options: CAMOptions) => BaseCAM> = {
  GradCAM: (options) => new GradCAM(options),
  HiResCAM: (options) => new HiResCAM(options),
  GradCAMElementWise: (options) => new GradCAMElementWise(options),
  GradCAMPlusPlus: (options) => new GradCAMPlusPlus(options),
  XGradCAM: (options) => new XGradCAM({ ...options, targetLayers: '_blocks.12._relu1' }),
  LayerCAM: (options) => new LayerCAM(options),
  ShapleyCAM: (options) => new ShapleyCAM(options),
  EigenCAM: (options) => new EigenCAM(options),
  EigenGradCAM: (options) => new EigenGradCAM(options),
  SegEigenCAM: (options) => new SegEigenCAM(options),
  KPCACAM: (options) => new KPCACAM(options),
  FEM: (options) => new FEM(options),
  FinerCAM: (options) => new FinerCAM({ ...options, targetLayers: '_bn1' }),
  RefineCAM: (options) => new RefineCAM({ ...options, targetLayers: ['_blocks.15', '_conv_head'] }),
  RandomCAM: (options) => new RandomCAM({ ...options, seed: 3 }),
  ScoreCAM: (options) => new ScoreCAM({ ...options, targetLayers: '_blocks.2' }),
  AblationCAM: (options) => new AblationCAM({ ...options, targetLayers: '_blocks.5' }),
  SmoothGradCAMPlusPlus: (options) => new SmoothGradCAMPlusPlus({ ...options, seed: 5 }),
  FullGrad: ({ model }) => new FullGrad({ model }),
};

/** Rounding to a half type moves these maps little; the others divide by what may be near 0, or see single places. */
const steady = new Set([
  'GradCAM',
  'GradCAMPlusPlus',
  'ShapleyCAM',
  'EigenCAM',
  'KPCACAM',
  'FEM',
  'RandomCAM',
  'ScoreCAM',
  'SmoothGradCAMPlusPlus',
]);

/** bfloat16 has 8 bits where float16 has 11. */
const allowed = { float32: 1e-4, float16: 1.2e-2, bfloat16: 0.1 } as const;
const leastCorrelation = { float32: 1 - 1e-6, float16: 0.99, bfloat16: 0.9 } as const;

function correlation(a: Float32Array, b: Float32Array): number {
  const centred = (all: Float32Array) => {
    const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
    return Float64Array.from(all, (value) => value - mean);
  };
  const [x, y] = [centred(a), centred(b)];
  const dot = (p: Float64Array, q: Float64Array) =>
    p.reduce((sum, value, index) => sum + value * (q[index] ?? 0), 0);
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
}

for (const dtype of ['float32', 'float16', 'bfloat16'] as const) {
  for (const [name, make] of Object.entries(methods)) {
    onGpu(`CUDA: ${name} in ${dtype} is what the CPU gives in float32`, async (t) => {
      const explain = async (how: LoadModelOptions, optimize = true) => {
        await using model = await loadModel(liteModel, how);
        const cam = make({ model, targetLayers: '_conv_head', optimize });
        const { heatmaps } = await cam.explain(await photoTensor(), { targets: 281 });
        return values(heatmaps);
      };
      const expected = await explain({ dtype: 'float32' });
      t.true(Math.max(...expected) > 0.5, 'the map shows something');
      for (const optimize of [true, false]) {
        const found = await explain({ device: 'cuda', dtype }, optimize);
        const difference = maxDifference(found, expected);
        const alike = correlation(found, expected);
        t.log(`optimize ${optimize}: ${difference.toExponential(1)}, correlation ${alike.toFixed(5)}`);
        if (dtype === 'float32' || steady.has(name))
          t.true(difference <= allowed[dtype], `optimize ${optimize}: ${difference}`);
        t.true(alike >= leastCorrelation[dtype], `optimize ${optimize}: correlation ${alike}`);
      }
    });
  }
}
