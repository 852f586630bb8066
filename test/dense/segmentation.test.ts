import test from 'ava';
import {
  type BaseCAM,
  categoryMask,
  type ModelOutput,
  presentCategories,
  SemanticSegmentationTarget,
  setThreads,
  Tensor,
} from 'node-gradcam';
import { detectionCases, detectionPath, floatsOf, tensorIn } from '../helpers/detection-fixtures.js';
import { closeToFloat64, ways } from '../helpers/float64-result.js';
import { camOf } from '../helpers/methods.js';
import { sharedModel } from '../helpers/shared-models.js';

// torchvision's DeepLabV3 and FCN, with masks from the model's own prediction, against pytorch-grad-cam in double precision:
// tools/fixtures/architectures/detection.py.

// The models are so small that threads would only wait for each other.
setThreads({ intraOpThreads: 1 });

const outOf = (output: ModelOutput) => (output as Record<string, Tensor>).out as Tensor;

for (const golden of detectionCases.filter(({ masks }) => masks)) {
  test(`${golden.name}: the model's own mask, then ${golden.method}`, async (t) => {
    const input = tensorIn(golden.input);
    const segmenter = await sharedModel(detectionPath(golden.model));
    const out = outOf(await segmenter.forward(input));
    const [, height = 0, width = 0] = golden.masks?.shape ?? [];
    const masks = (golden.categories ?? []).map((category, image) => categoryMask(out.at(image), category));
    for (const [image, mask] of masks.entries()) {
      t.deepEqual([...mask.shape], [height, width]);
      const expected = floatsOf(golden.masks).subarray(image * height * width, (image + 1) * height * width);
      t.deepEqual(mask.toTypedArray(), Float32Array.from(expected));
      const present = presentCategories(out.at(image));
      t.deepEqual(present.map(({ category }) => category).sort(), [...(golden.present?.[image] ?? [])]);
      t.is(
        present.reduce((sum, { pixels }) => sum + pixels, 0),
        height * width,
      );
    }
    const targets = masks.map((mask, image) => [
      new SemanticSegmentationTarget(golden.categories?.[image] ?? 0, mask),
    ]);
    for (const { dtype, optimize } of ways) {
      const model = await sharedModel(detectionPath(golden.model), dtype);
      const cam = camOf(golden.method, { model, targetLayers: golden.layer, output: 'out', optimize });
      const { heatmaps } = await (cam as BaseCAM).explain(input, { targets });
      t.deepEqual([...heatmaps.shape], [...golden.heatmaps.shape]);
      closeToFloat64(t, `optimize ${optimize}, ${dtype}`, heatmaps, floatsOf(golden.heatmaps), {
        referenceError: golden.referenceError.heatmaps,
        dtype,
      });
    }
  });
}

test('of a dictionary output, the layer suggested is the last of the widest in front of the head', async (t) => {
  const model = await sharedModel(detectionPath('deeplabv3.pt'));
  const { suggested } = await model.inspect(
    Tensor.from(new Float32Array(3 * 48 * 64).fill(0.5), [1, 3, 48, 64]),
  );
  t.regex(suggested?.path ?? '', /^backbone\.|^classifier\./);
  t.notRegex(suggested?.path ?? '', /^aux_classifier/);
});

test('categoryMask takes the first of equal outputs, and an image with or without its batch dimension', (t) => {
  const output = Tensor.from([1, 0, 2, 1, 5, 2], [3, 1, 2]);
  t.deepEqual(categoryMask(output, 2).toTypedArray(), Float32Array.of(1, 1));
  t.deepEqual(categoryMask(Tensor.from([1, 1, 1, 2], [2, 1, 2]), 0).toTypedArray(), Float32Array.of(1, 0));
  t.deepEqual(categoryMask(Tensor.from([1, 1, 1, 2], [1, 2, 1, 2]), 1).toTypedArray(), Float32Array.of(0, 1));
  t.deepEqual(presentCategories(Tensor.from([1, 1, 0, 0, 2, 0], [2, 1, 3])), [
    { category: 0, pixels: 2 },
    { category: 1, pixels: 1 },
  ]);
});

test('EXPECTED FAILURE - categoryMask of what is no segmentation', (t) => {
  const output = Tensor.from(new Float32Array(12), [3, 2, 2]);
  t.throws(() => categoryMask(output, 3), { code: 'ERR_CLASS_OUT_OF_RANGE', message: /0 to 2/ });
  t.throws(() => categoryMask(output, -1), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => categoryMask({ out: output }, 0), { code: 'ERR_INVALID_ARG_TYPE', message: /'out'/ });
  t.throws(() => categoryMask(Tensor.from(new Float32Array(24), [2, 3, 2, 2]), 0), {
    code: 'ERR_OUTPUT_SHAPE',
    message: /output\.at/,
  });
  t.throws(() => presentCategories(undefined), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => presentCategories(Tensor.from(new Float32Array(4), [1, 2, 2])), {
    code: 'ERR_INVALID_ARG_TYPE',
    message: /threshold/,
  });
  output.dispose();
  t.throws(() => presentCategories(output), { code: 'ERR_DISPOSED' });
});
