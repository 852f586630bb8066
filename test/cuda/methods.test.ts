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
  XGradCAM: (options) => new XGradCAM(options),
  LayerCAM: (options) => new LayerCAM(options),
  ShapleyCAM: (options) => new ShapleyCAM(options),
  EigenCAM: (options) => new EigenCAM(options),
  EigenGradCAM: (options) => new EigenGradCAM(options),
  SegEigenCAM: (options) => new SegEigenCAM(options),
  KPCACAM: (options) => new KPCACAM(options),
  FEM: (options) => new FEM(options),
  FinerCAM: (options) => new FinerCAM({ ...options, targetLayers: '_bn1' }),
  RefineCAM: (options) => new RefineCAM({ ...options, targetLayers: ['_blocks.10', '_conv_head'] }),
  RandomCAM: (options) => new RandomCAM({ ...options, seed: 3 }),
  ScoreCAM: (options) => new ScoreCAM({ ...options, targetLayers: '_blocks.2' }),
  AblationCAM: (options) => new AblationCAM({ ...options, targetLayers: '_blocks.5' }),
  SmoothGradCAMPlusPlus: (options) => new SmoothGradCAMPlusPlus({ ...options, seed: 5 }),
  FullGrad: ({ model }) => new FullGrad({ model }),
};

for (const dtype of ['float32', 'float16', 'bfloat16'] as const) {
  for (const [name, make] of Object.entries(methods)) {
    onGpu(`CUDA: ${name} in ${dtype} is what the CPU gives`, async (t) => {
      const explain = async (how: LoadModelOptions, optimize = true) => {
        await using model = await loadModel(liteModel, how);
        const cam = make({ model, targetLayers: '_conv_head', optimize });
        const { heatmaps } = await cam.explain(await photoTensor(), { targets: 281 });
        return values(heatmaps);
      };
      const expected = await explain({ dtype: 'float32' });
      t.true(Math.max(...expected) > 0.5, 'the map shows something');
      // How far rounding to this type moves the map differs between methods by orders of magnitude: as far as on the CPU.
      const bound =
        dtype === 'float32'
          ? 1e-4
          : Math.max(5e-3, 2 * maxDifference(await explain({ dtype }, false), expected));
      for (const optimize of [true, false]) {
        const difference = maxDifference(await explain({ device: 'cuda', dtype }, optimize), expected);
        t.log(`optimize ${optimize}: ${difference.toExponential(1)} of ${bound.toExponential(1)}`);
        t.true(difference <= bound, `optimize ${optimize}: ${difference}, where ${bound} is allowed`);
      }
    });
  }
}
