import test, { type ExecutionContext } from 'ava';
import {
  type Attribution,
  arcc,
  coherency,
  complexity,
  confidenceChange,
  deletionAuc,
  dropInConfidence,
  GradCAM,
  GuidedBackprop,
  guidedGradCam,
  increaseInConfidence,
  insertionAuc,
  loadModel,
  type Model,
  pointingGame,
  roadCombined,
  roadLeastRelevantFirst,
  roadLeastRelevantFirstAverage,
  roadMostRelevantFirst,
  roadMostRelevantFirstAverage,
  Tensor,
} from 'node-gradcam';
import { noise } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { turns, until } from '../helpers/until.js';

// What metrics are told: nothing that is misspelt, or of a wrong kind, is passed over.

const input = Tensor.from(noise(2 * 3 * 576), [2, 3, 24, 24]);
const heatmaps = Tensor.from(noise(2 * 576).map(Math.abs), [2, 24, 24]);

let model: Model;
test.before(async () => {
  model = await loadModel(fixturePath('scripted.pt'));
});
test.after.always(() => model.dispose());

const metrics = {
  confidenceChange,
  dropInConfidence,
  increaseInConfidence,
  deletionAuc,
  insertionAuc,
  roadMostRelevantFirst,
  roadLeastRelevantFirst,
  roadMostRelevantFirstAverage,
  roadLeastRelevantFirstAverage,
  roadCombined,
};

async function refused(t: ExecutionContext, work: () => unknown, code: string, message: RegExp) {
  const error = (await t.throwsAsync(async () => work())) as Error & { code: string };
  t.is(error.code, code, error.message);
  t.regex(error.message, message);
}

for (const [name, metric] of Object.entries(metrics)) {
  test(`${name}: a misspelt option is refused, and so is another metric's`, async (t) => {
    const run = (options: object) => () => metric(model, input, heatmaps, options);
    await refused(t, run({ targts: 3 }), 'ERR_UNKNOWN_OPTION', new RegExp(`'targts' in ${name} options`));
    const others = name.includes('Auc') ? 'percentile' : 'pixelsPerStep';
    await refused(t, run({ [others]: 50 }), 'ERR_UNKNOWN_OPTION', /The options are: targets, modelMethod/);
    await refused(t, run([]), 'ERR_INVALID_ARG_TYPE', /an object/);
    await refused(t, () => metric(model, input, [[1]] as never), 'ERR_INVALID_ARG_TYPE', /heatmaps/);
  });
}

test('averages take percentiles, not a percentile', async (t) => {
  const run = (options: object) => () => roadCombined(model, input, heatmaps, options);
  await refused(t, run({ percentile: 50 }), 'ERR_UNKNOWN_OPTION', /are: .*percentiles, noise, seed/);
  await refused(t, run({ percentiles: 50 }), 'ERR_INVALID_ARG_TYPE', /percentiles/);
  await refused(t, run({ percentiles: [50, '60'] }), 'ERR_INVALID_ARG_TYPE', /'60'/);
  await refused(t, run({ percentiles: [101] }), 'ERR_OUT_OF_RANGE', /0 to 100/);
  await refused(t, run({ seed: -1 }), 'ERR_OUT_OF_RANGE', /seed/);
  await refused(t, () => deletionAuc(model, input, heatmaps, { baseline: Number.NaN }), 'ERR_OUT_OF_RANGE', /baseline/); // biome-ignore format: one line
});

test('ROAD runs the images as they are once', async (t) => {
  await using alone = await loadModel(fixturePath('scripted.pt')); // Others use the shared one meanwhile.
  const jobs = async (work: () => Promise<unknown>) => {
    const before = alone.stats().jobs.done;
    await work();
    return alone.stats().jobs.done - before;
  };
  // Nine percentiles in two orders, and the images themselves.
  t.is(await jobs(() => roadCombined(alone, input, heatmaps)), 19);
  t.is(await jobs(() => roadMostRelevantFirstAverage(alone, input, heatmaps, { percentiles: [10, 50] })), 3);
  t.is(await jobs(() => roadMostRelevantFirst(alone, input, heatmaps)), 2);
});

test('metrics of maps alone', async (t) => {
  await refused(t, () => complexity([[0.5]] as never), 'ERR_INVALID_ARG_TYPE', /a Tensor for heatmaps/);
  await refused(t, () => complexity(Tensor.from([1, 2], [2])), 'ERR_INPUT_SHAPE', /\[2\]/);
  const integers = Tensor.from(new Int32Array(8), [2, 2, 2]);
  await refused(t, () => complexity(integers), 'ERR_INVALID_ARG_TYPE', /floating-point/);
  const game =
    (...[boxes, tolerance]: unknown[]) =>
    () =>
      pointingGame(heatmaps, boxes as never, tolerance as never);
  const box = [0, 0, 4, 4];
  await refused(t, game([[box]]), 'ERR_INVALID_ARG_TYPE', /each of 2 images/);
  await refused(t, game([[box], box]), 'ERR_INVALID_ARG_TYPE', /boxes\[1\]/);
  await refused(t, game([[box], [[0, 0, 4]]]), 'ERR_INVALID_ARG_TYPE', /boxes\[1\]/);
  await refused(t, game([[box], [['0', 0, 4, 4]]]), 'ERR_INVALID_ARG_TYPE', /boxes\[1\]/);
  await refused(t, game([[box], [box]], Number.NaN), 'ERR_OUT_OF_RANGE', /tolerance/);
  await refused(t, () => pointingGame(heatmaps.at(0), [[box]]), 'ERR_INPUT_SHAPE', /\[B, H, W\]/);
  await refused(t, () => pointingGame(null as never, [[box]]), 'ERR_INVALID_ARG_TYPE', /heatmaps/);
});

test('coherency and ARCC', async (t) => {
  const cam = new GradCAM({ model, targetLayers: 'layer1' });
  const run =
    (...[options, maps, what]: unknown[]) =>
    () =>
      coherency((what ?? cam) as GradCAM, input, (maps ?? heatmaps) as Tensor, options as object);
  await refused(t, run({ percentiles: [1] }), 'ERR_UNKNOWN_OPTION', /'percentiles' in coherency options/);
  await refused(t, run({}, heatmaps.at(0)), 'ERR_INPUT_SHAPE', /\[24, 24\], do not fit the images/);
  await refused(t, run({}, heatmaps, GradCAM), 'ERR_INVALID_ARG_TYPE', /new GradCAM\(\)/);
  await refused(t, () => arcc(model, cam, input, heatmaps, { target: 1 } as object), 'ERR_UNKNOWN_OPTION', /'target' in arcc/); // biome-ignore format: one line
});

test('guided Grad-CAM', async (t) => {
  const [cam, guided] = [new GradCAM({ model, targetLayers: 'layer1' }), new GuidedBackprop({ model })];
  const run = (options: object) => () => guidedGradCam(cam, guided, input, options);
  await refused(t, run({ target: 3 }), 'ERR_UNKNOWN_OPTION', /'target' in guidedGradCam options/);
  await refused(t, run({ eigenSmooth: true }), 'ERR_UNKNOWN_OPTION', /are: targets, arguments, signal/);
  await refused(
    t,
    () => guidedGradCam(guided as never, cam as never, input),
    'ERR_INVALID_ARG_TYPE',
    /for cam/,
  );
  await refused(
    t,
    () => guidedGradCam(cam, cam as never, input),
    'ERR_INVALID_ARG_TYPE',
    /a GuidedBackprop for guided/,
  );
});

test('guided Grad-CAM keeps nothing where one of its two halves fails', async (t) => {
  let attribution: Attribution | undefined;
  class Watched extends GuidedBackprop {
    override async attribute(...args: Parameters<GuidedBackprop['attribute']>): Promise<Attribution> {
      attribution = await super.attribute(...args);
      return attribution;
    }
  }
  class Fails extends GradCAM {
    override async explain(): Promise<never> {
      throw new Error('no map');
    }
  }
  const work = guidedGradCam(new Fails({ model }), new Watched({ model }), input);
  await t.throwsAsync(work, { message: 'no map' });
  const { attributions } = await until('the attribution', () => attribution ?? null);
  await turns();
  t.throws(() => attributions.toTypedArray(), { code: 'ERR_DISPOSED' });
});
