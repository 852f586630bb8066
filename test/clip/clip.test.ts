import { readFileSync } from 'node:fs';
import test from 'ava';
import {
  AblationCAM,
  ClipExplainer,
  type ClipExplanation,
  ClipTokenizer,
  describePlan,
  dropInConfidence,
  EigenCAM,
  Explainer,
  type Explanation,
  GradCAM,
  GradCamError,
  loadImage,
  loadModel,
  Saliency,
  setThreads,
  type Tensor,
  VectorTarget,
} from 'node-gradcam';
import { maxDifference, noise, readArray, type StoredArray } from '../helpers/fixtures.js';
import { asCloseAs, closeToFloat64, type Values, ways, yardstick } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';

// The archives are OpenAI's in structure: encode_image and encode_text, traced in half precision with CUDA as device. The
// ResNet's expected values come from open_clip's own loader of such files and the arithmetic people write by hand, the
// ViT's from pytorch-grad-cam, all in double precision; see tools/fixtures/architectures/clip.py.
interface Golden {
  readonly prompts: readonly string[];
  readonly resnet: {
    readonly imageEmbedding: readonly number[];
    readonly textEmbeddings: readonly (readonly number[])[];
    readonly similarities: readonly number[];
    readonly probabilities: readonly number[];
    readonly referenceError: Readonly<
      Record<'imageEmbedding' | 'textEmbeddings' | 'similarities' | 'probabilities', number>
    >;
  };
  readonly cases: readonly {
    readonly name: string;
    readonly model: 'resnet' | 'vit';
    readonly layer?: string;
    readonly method?: 'gradcam' | 'legrad';
    readonly similarity: 'dot' | 'cosine';
    readonly prompts: readonly string[];
    readonly heatmaps: StoredArray;
    readonly referenceError: { readonly heatmaps: number };
  }[];
  readonly tokens: readonly { readonly text: string; readonly ids: readonly number[] }[];
}
// The models are so small that threads would only wait for each other.
setThreads({ intraOpThreads: 1 });

const golden = JSON.parse(readFileSync(fixturePath('clip/golden.json'), 'utf8')) as Golden;
const resnetPath = fixturePath('clip/resnet.pt');
const vitPath = fixturePath('clip/vit.pt');
const catOf = (size: number) => fixturePath(`clip/cat-${size}.png`);
const values = (tensor: Tensor) => tensor.toTypedArray() as Float32Array;

for (const { name, model: file, heatmaps: expected, referenceError, ...how } of golden.cases) {
  test(`${name}: the map equals the reference's`, async (t) => {
    for (const { dtype, optimize } of ways) {
      const model = await sharedModel(file === 'vit' ? vitPath : resnetPath, dtype);
      const clip = new ClipExplainer({ model, optimize, ...clipOptions(how) });
      const image = await loadImage(catOf(file === 'vit' ? 64 : 128), clip.imageOptions);
      const { heatmaps, maps } = await clip.explain(image.tensor, how.prompts, {
        similarity: how.similarity,
        ...(file === 'vit' ? { upsample: 'bilinear' } : {}),
      });
      t.deepEqual(heatmaps.shape, expected.shape);
      t.true(maps.every(({ hasPositiveEvidence }) => hasPositiveEvidence));
      closeToFloat64(t, `optimize ${optimize}, ${dtype}`, heatmaps, readArray(expected), {
        referenceError: referenceError.heatmaps,
        dtype,
      });
    }
  });
}

function clipOptions({ layer, method }: { layer?: string; method?: 'gradcam' | 'legrad' }) {
  return { ...(layer ? { targetLayers: layer } : {}), ...(method ? { method } : {}) };
}

test('embeddings, similarities and probabilities are those of the model', async (t) => {
  const { referenceError, ...expected } = golden.resnet;
  for (const { dtype, optimize } of ways) {
    const model = await sharedModel(resnetPath, dtype);
    t.is(model.dtype, dtype === 'auto' ? 'float32' : 'float64');
    t.true(model.weights.length > 100);
    const clip = new ClipExplainer({ model, optimize });
    const close = (key: keyof typeof expected, actual: Values) =>
      closeToFloat64(t, `${key}, ${dtype}`, actual, expected[key].flat(), {
        referenceError: referenceError[key],
        dtype,
      });
    const texts = await clip.encodeText(golden.prompts);
    t.deepEqual(texts.shape, [3, 16]);
    close('textEmbeddings', texts);
    const image = await loadImage(catOf(128), clip.imageOptions);
    const explanation = await clip.explain(image.tensor, golden.prompts);
    close('imageEmbedding', explanation.outputs as Tensor);
    t.deepEqual(explanation.prompts, golden.prompts);
    close('similarities', explanation.similarities[0] ?? []);
    close('probabilities', explanation.probabilities[0] ?? []);
  }
});

test('several images and prompts: by image, then by prompt, as each alone', async (t) => {
  const clip = new ClipExplainer({ model: await sharedModel(resnetPath) });
  const batch = { data: noise(2 * 3 * 128 * 128), shape: [2, 3, 128, 128] };
  const together = await clip.explain(batch, ['a cat', 'a dog']);
  t.deepEqual(together.heatmaps.shape, [4, 128, 128]);
  t.deepEqual(
    together.maps.map(({ imageIndex, targetIndex }) => [imageIndex, targetIndex]),
    [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ],
  );
  const second = { data: batch.data.slice(3 * 128 * 128), shape: [1, 3, 128, 128] };
  const alone = await clip.explain(second, 'a dog');
  const heatmap = await yardstick(resnetPath, async (plainly) => {
    const { heatmaps } = await new ClipExplainer(plainly).explain(second, 'a dog');
    return heatmaps.at(0);
  });
  asCloseAs(t, 'in a batch', together.heatmaps.at(3), heatmap);
  asCloseAs(t, 'alone', alone.heatmaps.at(0), heatmap);
  const similarity = await yardstick(resnetPath, async (plainly) => {
    const { similarities } = await new ClipExplainer(plainly).explain(second, 'a dog');
    return similarities[0] ?? [];
  });
  asCloseAs(t, 'similarity in a batch', [together.similarities[1]?.[1] ?? 9], similarity);
  asCloseAs(t, 'similarity alone', alone.similarities[0] ?? [], similarity);
});

test('prompts are encoded together, and each only once', async (t) => {
  await using model = await loadModel(resnetPath);
  const clip = new ClipExplainer({ model });
  const image = await loadImage(catOf(128), clip.imageOptions);
  const texts: unknown[] = [];
  const { forward } = model;
  model.forward = async (...given) => {
    texts.push((given[0] as Tensor).shape[0]);
    return await forward.apply(model, given);
  };
  const first: ClipExplanation = await clip.explain(image.tensor, ['a', 'b', 'a']);
  t.deepEqual(texts, [2]);
  t.true(maxDifference(values(first.heatmaps.at(0)), values(first.heatmaps.at(2))) === 0);
  await clip.explain(image.tensor, ['b', 'c']);
  t.deepEqual(texts, [2, 1]);
});

test('token ids are those of open_clip, whatever the prompt', (t) => {
  const tokenizer = new ClipTokenizer();
  for (const { text, ids } of golden.tokens) {
    const row = tokenizer.tokenize(text, { truncate: true });
    t.deepEqual(row.shape, [1, 77]);
    t.is(row.dtype, 'int64');
    const expected = [...ids, ...Array.from({ length: 77 - ids.length }, () => 0)];
    t.deepEqual([...(row.toTypedArray() as BigInt64Array)].map(Number), expected, JSON.stringify(text));
  }
});

test('a prompt that is too long is refused, or cut if asked for', async (t) => {
  const tokenizer = new ClipTokenizer();
  const fits = 'word '.repeat(75);
  t.notThrows(() => tokenizer.tokenize(fits));
  const error = t.throws(() => tokenizer.tokenize(`${fits} more`), { instanceOf: GradCamError });
  t.is(error?.code, 'ERR_PROMPT_TOO_LONG');
  t.regex(error?.message ?? '', /76 tokens, and the model takes 75/);
  t.throws(() => tokenizer.encode('x'.repeat(10_001)), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => tokenizer.encode(7 as never), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => tokenizer.tokenize([]), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => tokenizer.tokenize('a', { contextLength: 1 }), { code: 'ERR_OUT_OF_RANGE' });
  t.deepEqual(tokenizer.tokenize(['a', 'b'], { contextLength: 5 }).shape, [2, 5]);
  await using model = await loadModel(resnetPath);
  const clip = new ClipExplainer({ model });
  await t.throwsAsync(clip.encodeText(`${fits} more`), { code: 'ERR_PROMPT_TOO_LONG' });
  t.deepEqual((await clip.encodeText(`${fits} more`, { truncate: true })).shape, [1, 16]);
});

test('what is no CLIP, or wrongly asked, is refused with a code', async (t) => {
  await using other = await loadModel(fixturePath('scripted.pt'));
  const error = t.throws(() => new ClipExplainer({ model: other }), { instanceOf: GradCamError });
  t.is((error as GradCamError).code, 'ERR_NO_FORWARD');
  t.deepEqual((error as GradCamError).details.available, ['forward']);
  const model = await loadModel(resnetPath);
  const clip = new ClipExplainer({ model });
  const input = { data: noise(3 * 128 * 128), shape: [1, 3, 128, 128] };
  t.throws(() => new ClipExplainer({ model, targetLayers: 'layer4' }), { code: 'ERR_UNKNOWN_LAYER' });
  t.throws(() => new ClipExplainer({ model, method: 'gradCam' as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => new ClipExplainer({ model, method: 'finercam' }), { code: 'ERR_UNSUPPORTED' });
  t.throws(() => new ClipExplainer({ model, layer: 'visual' } as never), { code: 'ERR_UNKNOWN_OPTION' });
  t.throws(() => new ClipExplainer({} as never), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.throwsAsync(clip.explain({ data: noise(3 * 64 * 64), shape: [1, 3, 64, 64] }, 'a'), {
    code: 'ERR_INPUT_SHAPE',
    message: /\[B, 3, 128, 128\], not \[1, 3, 64, 64\]/,
  });
  await t.throwsAsync(clip.explain(input, []), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.throwsAsync(clip.explain(input, ['a', 7 as never]), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.throwsAsync(clip.explain(input, 'a', { similarity: 'euclid' as never }), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
  await t.throwsAsync(
    clip.explain({ data: new Float32Array(3 * 128 * 128).fill(Number.NaN), shape: input.shape }, 'a'),
    {
      code: 'ERR_INPUT_NOT_FINITE',
    },
  );
  await t.throwsAsync(clip.explain(input, 'a', { signal: AbortSignal.abort(new Error('enough')) }), {
    message: 'enough',
  });
  const running = clip.explain(input, 'a');
  await model.dispose();
  await t.throwsAsync(clip.explain(input, 'b'), { code: 'ERR_DISPOSED' });
  await running.catch((reason) => t.is(reason.code, 'ERR_DISPOSED'));
});

test('an image may be disposed of while its prompts are encoded', async (t) => {
  await using model = await loadModel(resnetPath);
  const clip = new ClipExplainer({ model });
  const image = await loadImage(catOf(128), clip.imageOptions);
  const explaining = clip.explain(image.tensor, 'not seen before');
  image.tensor.dispose();
  t.deepEqual((await explaining).heatmaps.shape, [1, 128, 128]);
});

test('any method of a model can be run, inspected and explained', async (t) => {
  await using model = await loadModel(resnetPath);
  t.deepEqual([...model.methods], ['forward', 'encode_image', 'encode_text']);
  t.deepEqual([...(model.weight('input_resolution')?.toTypedArray() ?? [])], [128n]);
  t.is(model.weight('nothing'), null);
  const input = { data: noise(3 * 128 * 128), shape: [1, 3, 128, 128] };
  const tokens = new ClipTokenizer().tokenize(golden.prompts);
  const modelMethod = 'encode_image';
  const [logits] = (await model.forward([input, tokens])) as Tensor[];
  t.deepEqual(logits?.shape, [1, 3]);
  t.deepEqual(((await model.forward(input, { modelMethod })) as Tensor).shape, [1, 16]);
  t.deepEqual(((await model.forward(tokens, { modelMethod: 'encode_text' })) as Tensor).shape, [3, 16]);
  const { suggested, layers } = await model.inspect(input, { modelMethod });
  t.is(suggested?.path, 'visual.layer4');
  t.is(layers.find(({ path }) => path === 'visual.relu')?.calls, 3);
  t.is(layers.find(({ path }) => path === 'transformer')?.calls, 0);
  const vector = new VectorTarget(golden.resnet.textEmbeddings[0] ?? []);
  const { attributions } = await new Saliency({ model, modelMethod }).attribute(input, { targets: vector });
  t.deepEqual(attributions.shape, [1, 3, 128, 128]);
  const named = { model, modelMethod, targetLayers: 'visual.layer4' };
  const shared = new Explainer(named);
  const [one, two] = await Promise.all([1, 2].map(() => shared.explain(input, { targets: vector })));
  t.deepEqual(one?.heatmaps.toTypedArray(), two?.heatmaps.toTypedArray());
  t.true((await describePlan(model, 'visual.layer4', { modelMethod })).foldedBatchNorms > 0);
  await t.throwsAsync(describePlan(model, 'visual.layer4', { modelMethod: 'encode_text' }), {
    code: 'ERR_LAYER_NOT_CALLED',
  });
  const { heatmaps } = one as Explanation;
  const drops = await dropInConfidence(model, input, heatmaps, { targets: vector, modelMethod });
  t.is(drops.length, 1);
  // The layer is found, through encode_image too; forward and encode_image do not share plans.
  const found = await new GradCAM({ model, modelMethod }).explain(input, { targets: vector });
  t.is(found.layers[0]?.path, 'visual.layer4');
  const whole = new GradCAM({ model, targetLayers: 'visual.layer4', output: 0 });
  t.deepEqual((await whole.explain([input, tokens], { targets: 0 })).heatmaps.shape, [1, 128, 128]);
  for (const missing of ['encode_audio', 'visual.forward']) {
    const error = await t.throwsAsync(model.forward(input, { modelMethod: missing }));
    t.is((error as GradCamError).code, 'ERR_NO_FORWARD');
    t.deepEqual((error as GradCamError).details.available, ['forward', 'encode_image', 'encode_text']);
  }
  t.throws(() => new GradCAM({ model, modelMethod: 7 as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.throwsAsync(
    new GradCAM({ model, modelMethod, targetLayers: 'transformer.resblocks.0' }).explain(input),
    { code: 'ERR_LAYER_NOT_CALLED', message: /encode_image never calls it/ },
  );
});

test('weights and constants of a trace can be cast to other types', async (t) => {
  const input = { data: noise(3 * 128 * 128), shape: [1, 3, 128, 128] };
  const double = await sharedModel(resnetPath, 'float64');
  t.is(double.dtype, 'float64');
  const { outputs } = await new ClipExplainer({ model: double }).explain(input, golden.prompts);
  t.is((outputs as Tensor).dtype, 'float64');
  const half = await sharedModel(resnetPath, 'bfloat16');
  const { heatmaps } = await new ClipExplainer({ model: half }).explain(input, 'a cat');
  t.true(values(heatmaps).every(Number.isFinite));
});

test("tokens first, as OpenAI's ViTs have them, need batchFirst: false", async (t) => {
  await using model = await loadModel(vitPath);
  const clip = new ClipExplainer({ model, method: 'eigencam' });
  const image = await loadImage(catOf(64), clip.imageOptions);
  const targetLayers = 'visual.transformer.resblocks.1';
  const options = { model, targetLayers, modelMethod: 'encode_image' };
  const reshapeTransform = { kind: 'tokens', batchFirst: false } as const;
  const vector = new VectorTarget(golden.resnet.imageEmbedding);
  const { layers } = await new EigenCAM({ ...options, reshapeTransform }).explain(image.tensor, {
    targets: vector,
  });
  t.deepEqual(layers[0]?.shape, [1, 32, 4, 4]);
  t.deepEqual((await clip.explain(image.tensor, 'a')).layers[0]?.shape, [1, 32, 4, 4]);
  await t.throwsAsync(
    new GradCAM({ ...options, reshapeTransform: 'tokens' }).explain(image.tensor, { targets: vector }),
    { code: 'ERR_LAYER_OUTPUT' },
  );
  await t.throwsAsync(
    new AblationCAM({ ...options, reshapeTransform }).explain(image.tensor, { targets: vector }),
    { code: 'ERR_UNSUPPORTED' },
  );
});

test('behind the last attention of a ViT there is nothing to explain', async (t) => {
  await using model = await loadModel(vitPath);
  const explainAt = async (targetLayers: string) => {
    const clip = new ClipExplainer({ model, method: 'gradcam', targetLayers });
    const image = await loadImage(catOf(64), clip.imageOptions);
    return await clip.explain(image.tensor, 'the cat');
  };
  t.false((await explainAt('visual.transformer.resblocks.2')).maps[0]?.hasPositiveEvidence);
  t.true((await explainAt('visual.transformer.resblocks.1')).maps[0]?.hasPositiveEvidence);
  await t.throwsAsync(explainAt('visual.ln_post'), { code: 'ERR_LAYER_OUTPUT' });
});

test('bicubic upsampling is for images', async (t) => {
  await using model = await loadModel(fixturePath('signal.pt'));
  const input = { data: noise(2 * 2 * 64), shape: [2, 2, 64] };
  const cam = new GradCAM({ model, targetLayers: 'conv2' });
  await t.throwsAsync(cam.explain(input, { upsample: 'bicubic' }), { code: 'ERR_UNSUPPORTED' });
  t.deepEqual((await cam.explain(input, { upsample: 'bilinear' })).heatmaps.shape, [2, 64]);
  await t.throwsAsync(cam.explain(input, { upsample: 'nearest' as never }), { code: 'ERR_INVALID_ARG_TYPE' });
});
