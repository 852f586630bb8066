import test from 'ava';
import {
  AblationCAM,
  ClassifierOutputSoftmaxTarget,
  Explainer,
  GradCAM,
  GradCamError,
  loadModel,
  RawScoresOutputTarget,
  roadCombined,
  Saliency,
  ScoreCAM,
  type TargetFunction,
  Tensor,
} from 'node-gradcam';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';

// Targets written in JavaScript. Their values against PyTorch's are in family.test.ts (target-function-*).

const path = fixturePath('family/resnet.pt');
const images = Tensor.from(
  Float32Array.from(
    { length: 2 * 3 * 32 * 40 },
    (_, index) => Math.sin(index * 0.37) + Math.cos(index * 0.011),
  ),
  [2, 3, 32, 40],
);
const setUp = async () => {
  const model = await loadModel(path);
  return { model, cam: new GradCAM({ model, targetLayers: 'layer2' }) };
};
const values = (tensor: Tensor) => [...(tensor.toTypedArray() as Float32Array)];

test('is the same as the built-in target, to the bit, in every method and metric', async (t) => {
  const { model, cam } = await setUp();
  const own: TargetFunction = (output) => output.softmax().select(0, 2);
  const builtIn = new ClassifierOutputSoftmaxTarget(2);
  const cams = [
    cam,
    new AblationCAM({ model, targetLayers: 'layer2' }),
    new ScoreCAM({ model, targetLayers: 'layer2' }),
  ];
  for (const each of cams) {
    const mine = await each.explain(images, { targets: own });
    const theirs = await each.explain(images, { targets: builtIn });
    t.deepEqual(values(mine.heatmaps), values(theirs.heatmaps));
    t.deepEqual(mine.scores, theirs.scores);
    t.is(mine.maps[0]?.classIndex, null);
  }
  const saliency = new Saliency({ model });
  const mine = await saliency.attribute(images, { targets: own });
  const theirs = await saliency.attribute(images, { targets: builtIn });
  t.deepEqual(values(mine.attributions), values(theirs.attributions));
  const { heatmaps } = await cam.explain(images, { targets: builtIn });
  t.deepEqual(
    await roadCombined(model, images, heatmaps, { targets: own }),
    await roadCombined(model, images, heatmaps, { targets: builtIn }),
  );
});

test('one per image, several per image, beside other targets', async (t) => {
  const { cam } = await setUp();
  const single = images.at(0).reshape([1, 3, 32, 40]);
  const { maps, heatmaps } = await cam.explain(images, {
    targets: [[3, (output) => output.sum()], [(output) => output.select(0, 1)]],
  });
  t.is(heatmaps.shape[0], 3);
  t.deepEqual(
    maps.map(({ classIndex }) => classIndex),
    [3, null, null],
  );
  const sum = await yardstick(path, async (plainly) => {
    const plain = new GradCAM({ ...plainly, targetLayers: 'layer2' });
    return (await plain.explain(single, { targets: new RawScoresOutputTarget() })).scores;
  });
  asCloseAs(t, 'the sum', [maps[1]?.score ?? 0], sum);
});

test('many callers of an Explainer with their own functions; a failing one fails alone', async (t) => {
  const { model } = await setUp();
  await using explainer = new Explainer({ model, targetLayers: 'layer2', maxBatch: 8 });
  const settled = await Promise.allSettled(
    Array.from({ length: 24 }, (_, caller) =>
      explainer.explain(images.at(caller % 2).reshape([1, 3, 32, 40]), {
        targets: (output) => {
          if (caller === 13) throw new Error('thirteen');
          return output.select(0, caller % 5);
        },
      }),
    ),
  );
  for (const [caller, outcome] of settled.entries()) {
    if (caller === 13) {
      t.is(outcome.status, 'rejected');
      const { code, cause } = (outcome as PromiseRejectedResult).reason;
      t.is(code, 'ERR_TARGET_FUNCTION');
      t.is(cause.message, 'thirteen');
    } else {
      t.is(outcome.status, 'fulfilled');
    }
  }
});

const failures: Record<string, { target: unknown; code: string; message: RegExp; cause?: RegExp }> = {
  throws: {
    target: () => {
      throw new RangeError('no such thing');
    },
    code: 'ERR_TARGET_FUNCTION',
    message: /no such thing/,
    cause: /no such thing/,
  },
  'is async': {
    target: async (output: Tensor) => output.sum(),
    code: 'ERR_TARGET_FUNCTION',
    message: /must not be async/,
  },
  'returns a number': { target: () => 3, code: 'ERR_TARGET_FUNCTION', message: /a Tensor.*but received 3/ },
  'returns nothing': { target: () => {}, code: 'ERR_TARGET_FUNCTION', message: /received undefined/ },
  'returns many elements': {
    target: (output: Tensor) => output.mul(2),
    code: 'ERR_OUTPUT_SHAPE',
    message: /one element.*\[5\]/,
  },
  'makes the score of copied values': {
    target: (output: Tensor) => Tensor.from(output.toTypedArray(), output.shape).sum(),
    code: 'ERR_TARGET_FUNCTION',
    message: /does not depend on the output/,
  },
  'asks for a dimension that does not exist': {
    target: (output: Tensor) => output.softmax(3).sum(),
    code: 'ERR_TARGET_FUNCTION',
    message: /softmax: Dimension out of range/,
    cause: /Dimension out of range/,
  },
  'throws undefined': {
    target: () => {
      throw undefined;
    },
    code: 'ERR_TARGET_FUNCTION',
    message: /target function failed/,
  },
};
for (const [what, { target, code, message, cause }] of Object.entries(failures)) {
  test(`a function that ${what}`, async (t) => {
    const { cam } = await setUp();
    const error = await t.throwsAsync<GradCamError>(
      cam.explain(images, { targets: target as TargetFunction }),
      {
        instanceOf: GradCamError,
        code,
        message,
      },
    );
    if (cause) t.regex(String(error?.cause), cause);
    t.is((await cam.explain(images)).heatmaps.shape[0], 2); // nothing is broken
  });
}

test('the output belongs to the call: kept, it is disposed', async (t) => {
  const { cam } = await setUp();
  let kept: Tensor | undefined;
  await cam.explain(images, {
    targets: (output) => {
      kept = output;
      return output.sum();
    },
  });
  t.throws(() => kept?.sum(), { code: 'ERR_DISPOSED' });
});

test('an abort while the function waits its turn', async (t) => {
  const { cam } = await setUp();
  const controller = new AbortController();
  const work = cam.explain(images, {
    targets: (output) => {
      controller.abort(new Error('enough'));
      return output.sum();
    },
    signal: controller.signal,
  });
  await t.throwsAsync(work, { message: 'enough' });
  t.is((await cam.explain(images)).heatmaps.shape[0], 2);
});

for (const ending of ['process.exit(7)', 'throw new Error("out")', 'process.kill(process.pid, "SIGTERM")']) {
  test(`the process may end inside of a function: ${ending}`, async (t) => {
    const { code, signal } = await runScript(`
      import { GradCAM, loadModel, Tensor } from 'node-gradcam';
      const model = await loadModel(${JSON.stringify(path)});
      const cam = new GradCAM({ model, targetLayers: 'layer2' });
      const input = Tensor.from(new Float32Array(3 * 32 * 32).map((_, i) => Math.sin(i)), [1, 3, 32, 32]);
      await cam.explain(input, { targets: (output) => { ${ending}; return output.sum(); } });
    `);
    if (ending.includes('SIGTERM')) t.is(signal, 'SIGTERM');
    else t.is(code, ending.includes('exit') ? 7 : 1);
  });
}
