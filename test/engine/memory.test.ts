import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { setMaxListeners } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import {
  AblationCAM,
  arcc,
  ClipExplainer,
  compareMethods,
  confidenceChange,
  DeepFeatureFactorization,
  deletionAuc,
  describePlan,
  Explainer,
  type ExplainOptions,
  explainStream,
  GradCAM,
  GuidedBackprop,
  guidedGradCam,
  IntegratedGradients,
  loadModel,
  type Model,
  type ModelStatistics,
  roadCombined,
  Saliency,
  ScoreCAM,
  SmoothGradCAMPlusPlus,
  setThreads,
  type TargetFunction,
  Tensor,
  TorchScriptTarget,
} from 'node-gradcam';
import { native } from '../../lib/addon/addon.js';
import { noise } from '../helpers/fixtures.js';
import { type LiveCounts, settledCounts } from '../helpers/live-counts.js';
import { fixturePath } from '../helpers/root.js';

// What each way of using the library leaves behind: nothing. The memory of the process over a long time is in
// test/nightly/memory-growth.test.ts.

const warmUpTurns = 4; // plans are made, and weights put into oneDNN's order when a size comes the second time
const turns = 10;

const targetLayers = 'layer2';
const modelPath = fixturePath('scripted.pt');
let model: Model;
let cam: GradCAM;
let explainer: Explainer;
let clip: ClipExplainer;
test.before(async () => {
  // While the one executor runs a job, others surely wait. The work is too small for several threads.
  setThreads({ executors: 1, intraOpThreads: 1 });
  model = await loadModel(modelPath);
  cam = new GradCAM({ model, targetLayers });
  explainer = new Explainer({ model, targetLayers });
  clip = new ClipExplainer({ model: await loadModel(fixturePath('clip/resnet.pt')) });
});

const image = (channels = 3, size = 64) =>
  Tensor.from(noise(channels * size * size), [1, channels, size, size]);
/** Lives as long as all turns: what listens to it and does not stop shows. */
const lasting = new AbortController().signal;
const firstClass: TargetFunction = (output) => output.select(0, 0);
const ignoreFailure = () => {};

/** What is alive between turns, of what has nothing to do with what was run before. */
const resting = {
  tensors: 0,
  models: 2,
  targets: 0,
  cancellations: 0,
  functions: 0,
  jobs: 0,
  environments: 1,
  listeners: 0,
  subscribers: 0,
};

const countsAtRest = (expected: LiveCounts) => settledCounts(expected, [lasting]);

/** What has become more, or less, by many turns. Waits until it is as expected, or nothing is left to wait for. */
async function growthOver(
  turn: (index: number) => Promise<unknown>,
  expected: LiveCounts = {},
): Promise<Record<string, number>> {
  for (let index = 0; index < warmUpTurns; index++) await turn(index);
  const before = await countsAtRest(resting);
  for (const [name, count] of Object.entries(resting))
    if (before[name] !== count)
      throw new Error(`${before[name]} ${name} after the first turns, not ${count}`);
  for (let index = 0; index < turns; index++) await turn(warmUpTurns + index);
  const { bytes, ...others } = before;
  const awaited = Object.entries(others).map(
    ([name, count]) => [name, count + (expected[name] ?? 0)] as const,
  );
  // malloc rounds up what it gives out.
  const after = await countsAtRest({
    ...Object.fromEntries(awaited),
    ...(expected.blocks || bytes === undefined ? {} : { bytes }),
  });
  const changes = Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)] as const);
  return Object.fromEntries(changes.filter(([, change]) => change !== 0));
}

const leavesNothing = test.macro({
  title: (name = '') => `nothing is left of ${name}`,
  exec: async (t, turn: (index: number) => Promise<unknown>) => {
    t.deepEqual(await growthOver(turn), {});
  },
});

test.serial('explains', leavesNothing, async () => {
  (await cam.explain(image(), { signal: lasting })).dispose();
});

test.serial('explains whose results are forgotten', leavesNothing, async () => {
  await cam.explain(image(), { signal: lasting, augSmooth: true, eigenSmooth: true });
});

test.serial('explains that are listened to', leavesNothing, async () => {
  let heard = 0;
  const hear = () => heard++;
  const events = ['start', 'batch', 'end'].map((event) => `gradcam:explain:${event}`);
  for (const event of events) subscribe(event, hear);
  (await cam.explain(image())).dispose();
  for (const event of events) unsubscribe(event, hear);
  if (heard !== events.length) throw new Error(`${heard} messages`);
});

test.serial('explains that are refused, or fail', leavesNothing, async () => {
  const attempts: [Tensor, ExplainOptions][] = [
    [image(), { targets: 4000 }],
    [image(7), {}], // a forward that fails
    [Tensor.from(new Float32Array(3 * 64 * 64).fill(Number.NaN), [1, 3, 64, 64]), {}],
    [image(), { targets: [[0], [1]] }],
    [image(), { upsample: 'nearest' as 'bilinear' }],
  ];
  for (const [input, options] of attempts)
    await cam.explain(input, { ...options, signal: lasting }).then(() => {
      throw new Error('no failure');
    }, ignoreFailure);
});

test.serial('aborts, wherever they fall', leavesNothing, async () => {
  const explain = (controller: AbortController, targets: ExplainOptions['targets'] = 0) =>
    cam.explain(image(), { signal: controller.signal, targets }).catch(ignoreFailure);
  const before = new AbortController();
  before.abort();
  await explain(before);

  const atOnce = new AbortController();
  const started = explain(atOnce);
  atOnce.abort();
  await started;

  const [queued, running] = [new AbortController(), new AbortController()];
  let behind: Promise<unknown> | undefined;
  let jobs: ModelStatistics['jobs'] | undefined;
  await explain(running, (output) => {
    behind = explain(queued);
    ({ jobs } = model.stats());
    queued.abort();
    running.abort();
    return firstClass(output);
  });
  await behind;
  if (jobs?.running !== 1 || jobs.waiting !== 1) throw new Error(`not queued: ${JSON.stringify(jobs)}`);

  const computed = new AbortController();
  let late: Promise<void> | undefined;
  await explain(computed, (output) => {
    late = nextTurn().then(() => {
      // The result comes in, and is not delivered while this thread is busy.
      while (model.stats().jobs.running > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      computed.abort();
    });
    return firstClass(output);
  });
  await late; // before other jobs may wait for this thread

  const ended = new AbortController();
  await explain(ended);
  ended.abort();
});

test.serial('target functions, also those that fail', leavesNothing, async () => {
  const functions: readonly TargetFunction[] = [
    firstClass,
    (output) => output,
    () => {
      throw new Error('on purpose');
    },
    () => 5 as unknown as Tensor,
    (output) => {
      output.dispose();
      return output;
    },
  ];
  for (const targets of functions) await cam.explain(image(), { targets }).catch(ignoreFailure);
});

test.serial('an Explainer', leavesNothing, async () => {
  const [leaving, left] = [new AbortController(), new AbortController()];
  const pending = [
    explainer.explain(image(), { signal: lasting }),
    explainer.explain(image(), { targets: 4000, signal: lasting }), // its batch fails: each runs alone
    explainer.explain(image(), { signal: leaving.signal }),
    explainer.explain(image(3, 32), { signal: lasting }),
  ];
  leaving.abort(); // while it waits
  await Promise.allSettled(pending);
  await explainer
    .explain(image(), {
      signal: left.signal,
      targets: (output) => {
        left.abort(); // while its batch runs
        return firstClass(output);
      },
    })
    .catch(ignoreFailure);
  const own = new Explainer({ model, targetLayers, maxQueue: 1 });
  const answers = [own.explain(image()), own.explain(image())]; // the second is refused
  await own.dispose();
  await Promise.allSettled(answers);
});

test.serial('streams', leavesNothing, async () => {
  const images = () => [image(), image(), image(7), image()];
  for await (const { explanation } of explainStream(explainer, images(), {
    signal: lasting,
    errors: 'yield',
  }))
    explanation?.dispose();
  for await (const _ of explainStream(cam, images(), { signal: lasting })) break;
  const failing = async () => {
    for await (const _ of explainStream(cam, images(), { signal: lasting }));
  };
  await failing().catch(ignoreFailure);
  const controller = new AbortController();
  const aborted = async () => {
    for await (const _ of explainStream(cam, images(), { signal: controller.signal })) controller.abort();
  };
  await aborted().catch(ignoreFailure);
});

test.serial('models', leavesNothing, async () => {
  const used = await loadModel(modelPath, { signal: lasting });
  await new GradCAM({ model: used, targetLayers }).explain(image());
  const running = new GradCAM({ model: used, targetLayers }).explain(image());
  await used.dispose(); // waits for it
  await running;
  await new GradCAM({ model: await loadModel(modelPath) }).explain(image()); // forgotten
  for (const file of ['bad/truncated.pt', 'bad/text.pt', 'nowhere.pt'])
    await loadModel(fixturePath(file), { signal: lasting }).catch(ignoreFailure);
  const controller = new AbortController();
  const pending = loadModel(modelPath, { signal: controller.signal }).catch(ignoreFailure);
  controller.abort();
  await pending;
});

test.serial('TorchScript targets', leavesNothing, async () => {
  const target = await TorchScriptTarget.load(fixturePath('family/target-margin.pt'));
  await cam.explain(image(), { targets: target });
  await TorchScriptTarget.load(fixturePath('bad/text.pt')).catch(ignoreFailure);
});

test.serial('methods that run the model again and tell of it', leavesNothing, async () => {
  const onProgress = () => {};
  for (const Method of [ScoreCAM, AblationCAM, SmoothGradCAMPlusPlus])
    await new Method({ model, targetLayers }).explain(image(), { onProgress, signal: lasting });
  await compareMethods({ model, targetLayers, methods: ['gradcam', 'eigencam'] }, image());
});

test.serial('attributions', leavesNothing, async () => {
  await new Saliency({ model }).attribute(image(), { signal: lasting });
  const integrated = new IntegratedGradients({ model, steps: 4 });
  await integrated.attribute(image(), { onProgress: () => {}, signal: lasting });
  await guidedGradCam(cam, new GuidedBackprop({ model }), image());
});

test.serial('metrics', leavesNothing, async () => {
  const { heatmaps } = await cam.explain(image(3, 32));
  await confidenceChange(model, image(3, 32), heatmaps, { signal: lasting });
  await roadCombined(model, image(3, 32), heatmaps, { percentiles: [50, 90] });
  await deletionAuc(model, image(3, 32), heatmaps, { pixelsPerStep: 512 });
  await arcc(model, cam, image(3, 32), heatmaps, { percentiles: [50] });
  await confidenceChange(model, image(), heatmaps).catch(ignoreFailure);
});

test.serial('factorizations', leavesNothing, async () => {
  const factorization = new DeepFeatureFactorization({ model, targetLayer: targetLayers });
  await factorization.factorize(image(), { components: 3, onProgress: () => {}, signal: lasting });
  await factorization.factorize(image(7), { components: 3 }).catch(ignoreFailure);
});

test.serial('forwards, inspections, weights and plans', leavesNothing, async () => {
  await model.forward(image(), { signal: lasting });
  await model.forward(image(7), { signal: lasting }).catch(ignoreFailure);
  await model.inspect(image(), { signal: lasting });
  model.weight(model.weights[0]?.name ?? '');
  await describePlan(model, targetLayers);
});

test.serial('tensors and their operations', leavesNothing, async () => {
  using tensor = image();
  tensor.at(0).sub(1).softmax().sum([1, 2], { keepDimensions: true }).toTypedArray();
  try {
    tensor.matmul(image(7));
  } catch {}
});

test.serial('CLIP', leavesNothing, async () => {
  const { size } = clip.imageOptions as { size: number };
  await clip.explain(image(3, size), ['a cat', 'a sofa'], { signal: lasting });
  await clip.explain(image(3, size), 'long '.repeat(500), { signal: lasting }).catch(ignoreFailure);
  await clip.encodeText('a cat');
});

test.serial('and what each turn keeps is seen, one for one', async (t) => {
  const kept: unknown[] = [];
  setMaxListeners(0, lasting);
  const leak = async (turn: number) => {
    if (turn < warmUpTurns) return;
    kept.push((await cam.explain(image())).heatmaps); // a map: a handle and a block
    const explanation = await cam.explain(image());
    explanation.dispose();
    kept.push(explanation); // the handles of its map and its output
    const other = await loadModel(modelPath);
    await other.dispose();
    kept.push(other, native().createCancellation());
    lasting.addEventListener('abort', () => {});
  };
  const expected = {
    tensors: 3 * turns,
    blocks: turns,
    models: turns,
    cancellations: turns,
    listeners: turns,
  };
  const { bytes = 0, ...counts } = await growthOver(leak, expected);
  kept.length = 0;
  t.deepEqual(counts, expected);
  const mapBytes = 64 * 64 * 4;
  t.true(bytes >= mapBytes * turns && bytes < 1.1 * mapBytes * turns, `${bytes} bytes`);
});

test.serial('once the models are let go, nothing at all is left', async (t) => {
  await model.dispose();
  model = cam = explainer = clip = undefined as never;
  const nothing = { ...resting, models: 0, plans: 0, blocks: 0, bytes: 0 };
  t.deepEqual(await settledCounts(nothing), nothing);
});
