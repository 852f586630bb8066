import test from 'ava';
import {
  compareMethods,
  GradCAM,
  LayerCAM,
  loadModel,
  type MethodName,
  methodNames,
  Tensor,
} from 'node-gradcam';
import { liteModel, noise, sameBits } from '../helpers/fixtures.js';

const input = Tensor.from(noise(2 * 3 * 224 * 224), [2, 3, 224, 224]);
const options = { targetLayers: '_conv_head' };

test('several methods share one forward and give what each gives alone', async (t) => {
  await using model = await loadModel(liteModel);
  const names: MethodName[] = ['gradcam', 'layercam', 'eigencam', 'finercam'];
  const found = await compareMethods({ model, methods: names, ...options }, input, { targets: [[1], [2]] });
  t.deepEqual([...found.keys()], names);
  const alone = {
    gradcam: await new GradCAM({ model, ...options }).explain(input, { targets: [[1], [2]] }),
    layercam: await new LayerCAM({ model, ...options }).explain(input, { targets: [[1], [2]] }),
  };
  for (const method of ['gradcam', 'layercam'] as const) {
    const heatmaps = found.get(method)?.heatmaps.toTypedArray() ?? new Float32Array();
    t.true(sameBits(heatmaps, alone[method].heatmaps.toTypedArray()));
  }
  const other = found.get('eigencam')?.heatmaps.toTypedArray() ?? new Float32Array();
  t.false(sameBits(other, alone.gradcam.heatmaps.toTypedArray()));
});

test('ten methods share one forward and one walk back', async (t) => {
  await using model = await loadModel(liteModel);
  const alone: MethodName[] = [
    'scorecam',
    'ablationcam',
    'fullgrad',
    'smoothgradcam++',
    'finercam',
    'legrad',
    'cam', // of pooled layers only
  ];
  const names = methodNames.filter((name) => !alone.includes(name));
  t.true(names.length >= 10);
  const found = await compareMethods({ model, methods: names, ...options }, input);
  const [first] = found.values();
  for (const [name, { timings, maps, heatmaps }] of found) {
    t.deepEqual(timings, first?.timings, name); // of the one job that made them all
    t.is(maps[0]?.score, first?.maps[0]?.score);
    t.deepEqual(heatmaps.shape, [2, 224, 224]);
  }
});

test('unknown methods are refused', async (t) => {
  await using model = await loadModel(liteModel);
  await t.throwsAsync(compareMethods({ model, methods: ['magic' as MethodName] }, input), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
  await t.throwsAsync(compareMethods({ model, methods: [] }, input), { code: 'ERR_INVALID_ARG_TYPE' });
});
