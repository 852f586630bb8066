import test from 'ava';
import {
  GradCAM,
  GradCamError,
  LeGrad,
  loadSidecar,
  type ReshapeTransform,
  setThreads,
  Tensor,
} from 'node-gradcam';
import { noise, readArray, readJson, type StoredArray } from '../helpers/fixtures.js';
import { asCloseAs, closeToFloat64, ways } from '../helpers/float64-result.js';
import { camOf } from '../helpers/methods.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';

// Transformers and ConvNeXts of torchvision, timm and Hugging Face as exporting/export_model.py writes them, against
// pytorch-grad-cam on the original models in double precision: tools/fixtures/architectures/transformers.py.

interface TransformerCase {
  readonly name: string;
  readonly method: string;
  readonly model: string;
  readonly input: StoredArray;
  readonly targetLayers: readonly string[];
  readonly targets: readonly (readonly number[])[];
  readonly options?: { readonly reshapeTransform?: ReshapeTransform };
  readonly expected: { readonly heatmaps: StoredArray; readonly scores: readonly number[] };
  readonly referenceError: Readonly<Record<'heatmaps' | 'scores', number>>;
}

const { cases } = readJson<{ cases: readonly TransformerCase[] }>('transformers/golden.json');
const modelPath = (name: string) => fixturePath(`transformers/${name}`);
const floats = (stored: StoredArray) =>
  readArray({ ...stored, file: `transformers/${stored.file}` }) as Float32Array;
const tensorOf = (stored: StoredArray) => Tensor.from(floats(stored), stored.shape);

// The models are so small that threads would only wait for each other.
setThreads({ intraOpThreads: 1 });

for (const golden of cases) {
  test(`${golden.name}: as pytorch-grad-cam on the original model`, async (t) => {
    const reshapeTransform = golden.options?.reshapeTransform;
    for (const { dtype, optimize } of ways) {
      const model = await sharedModel(modelPath(golden.model), dtype);
      const cam = camOf(golden.method, {
        model,
        targetLayers: golden.targetLayers,
        optimize,
        ...(reshapeTransform ? { reshapeTransform } : {}),
      });
      const { heatmaps, scores } = await cam.explain(tensorOf(golden.input), { targets: golden.targets });
      t.deepEqual([...heatmaps.shape], [...golden.expected.heatmaps.shape]);
      const { expected, referenceError } = golden;
      const name = `optimize ${optimize}, ${dtype}`;
      closeToFloat64(t, name, heatmaps, floats(expected.heatmaps), {
        referenceError: referenceError.heatmaps,
        dtype,
      });
      closeToFloat64(t, `scores, ${name}`, scores, expected.scores, {
        referenceError: referenceError.scores,
        dtype,
      });
    }
  });
}

const byModel = new Map(cases.map((golden) => [golden.model, golden]));

/** Of each model the layer that is suggested: what the library's own documentation advises. */
const suggested: Record<string, readonly [path: string, reshape: ReshapeTransform | null]> = {
  'torchvision-vit.pt': ['encoder.layers.encoder_layer_1.ln_1', { kind: 'tokens', prefixTokens: 1 }],
  'torchvision-swin.pt': ['permute', null],
  'torchvision-swin-v2.pt': ['permute', null],
  'torchvision-convnext.pt': ['features', null],
  'timm-vit.pt': ['blocks.1.norm1', { kind: 'tokens', prefixTokens: 1 }],
  'timm-vit-eager.pt': ['blocks.1.norm1', { kind: 'tokens', prefixTokens: 1 }],
  'timm-vit-wide.pt': ['blocks.1.norm1', { kind: 'tokens', prefixTokens: 1 }],
  'timm-deit-distilled.pt': ['blocks.1.norm1', { kind: 'tokens', prefixTokens: 2 }],
  'timm-vit-registers.pt': ['blocks.1.norm1', { kind: 'tokens', prefixTokens: 5 }],
  'timm-swin.pt': ['layers.1.blocks.1.norm1', { kind: 'nhwc' }],
  'timm-convnext.pt': ['stages', null],
  'hf-swin.pt': [
    'model.swin.encoder.layers.1.blocks.1.layernorm_before',
    { kind: 'tokens', prefixTokens: 0 },
  ],
};

test('each exported model has its suggestion checked', (t) => {
  t.deepEqual([...byModel.keys()].sort(), Object.keys(suggested).sort());
});

for (const [name, golden] of byModel) {
  test(`${name}: without a layer, the suggested one and its reshape transform are taken`, async (t) => {
    const model = await sharedModel(modelPath(name));
    const input = tensorOf(golden.input);
    const suggestion = await model.suggestLayer(input);
    const [path, reshapeTransform] = suggested[name] ?? [];
    t.is(suggestion.path, path as string);
    t.deepEqual(suggestion.reshapeTransform, reshapeTransform ?? null);

    const options = { targets: golden.targets };
    const chosen = await new GradCAM({ model }).explain(input, options);
    const named = await new GradCAM({
      model,
      targetLayers: suggestion.path,
      ...(suggestion.reshapeTransform ? { reshapeTransform: suggestion.reshapeTransform } : {}),
    }).explain(input, options);
    t.deepEqual(chosen.heatmaps.toTypedArray(), named.heatmaps.toTypedArray());
    t.is(chosen.layers[0]?.reason, suggestion.reason);
    t.true(chosen.maps.some((map) => map.hasPositiveEvidence));
    const [, , height = 0, width = 0] = chosen.layers[0]?.shape ?? [];
    t.is(height / width, (input.shape[2] ?? 0) / (input.shape[3] ?? 1), 'a grid of the shape of the image');
  });

  test(`${name}: the exporter's sidecar is valid and explains the same`, async (t) => {
    const sidecar = await loadSidecar(modelPath(name));
    if (!sidecar) return t.fail('no sidecar');
    const [, , height, width] = golden.input.shape;
    t.is(sidecar.input.height, height as number);
    t.is(sidecar.input.width, width as number);
    const model = await sharedModel(modelPath(name));
    const input = tensorOf(golden.input);
    const cam = new GradCAM({
      model,
      ...(sidecar.layer === undefined ? {} : { targetLayers: sidecar.layer }),
      ...(sidecar.reshapeTransform === undefined ? {} : { reshapeTransform: sidecar.reshapeTransform }),
    });
    const ofSidecar = await cam.explain(input, { targets: golden.targets });
    const ofSuggestion = await new GradCAM({ model }).explain(input, { targets: golden.targets });
    // Both rules are the same, in Python on the original modules and here on the exported graph.
    t.deepEqual(ofSidecar.heatmaps.toTypedArray(), ofSuggestion.heatmaps.toTypedArray());
    return undefined;
  });
}

test('LeGrad sees the attention of every export, visible or fused', async (t) => {
  const explain = async (name: string, dtype: 'auto' | 'float64') => {
    const model = await sharedModel(modelPath(name), dtype);
    const golden = byModel.get(name) as TransformerCase;
    const { heatmaps, maps } = await new LeGrad({ model }).explain(tensorOf(golden.input), {
      targets: golden.targets,
    });
    t.true(
      maps.every((map) => map.hasPositiveEvidence),
      name,
    );
    return heatmaps;
  };
  for (const name of ['torchvision-vit.pt', 'timm-deit-distilled.pt']) await explain(name, 'auto');
  // The same weights, with the attention fused and written out.
  const plain = await explain('timm-vit-eager.pt', 'auto');
  const exact = await explain('timm-vit-eager.pt', 'float64');
  asCloseAs(t, 'fused', await explain('timm-vit.pt', 'auto'), { plain, exact });
  closeToFloat64(t, 'fused', await explain('timm-vit.pt', 'float64'), exact, {
    referenceError: 0,
    dtype: 'float64',
  });
});

test('tokens of an image that is not square are laid out in its shape, not in a square', async (t) => {
  const model = await sharedModel(modelPath('timm-vit-wide.pt'));
  const input = tensorOf((byModel.get('timm-vit-wide.pt') as TransformerCase).input);
  const explain = (reshapeTransform: ReshapeTransform) =>
    new GradCAM({ model, targetLayers: 'blocks.1.norm1', reshapeTransform }).explain(input, { targets: 1 });
  const inferred = await explain('tokens');
  t.deepEqual([...(inferred.layers[0]?.shape ?? [])], [2, 32, 8, 12]);
  const inFull = await explain({ kind: 'tokens', prefixTokens: 1, grid: [8, 12] });
  t.deepEqual(inferred.heatmaps.toTypedArray(), inFull.heatmaps.toTypedArray());
});

const unreadable: readonly [ReshapeTransform, RegExp][] = [
  [
    { kind: 'tokens', prefixTokens: 7 },
    /no grid of the shape of the image, \[64, 96\], has 97 tokens, 7 of them before/,
  ],
  [{ kind: 'tokens', grid: [12, 12] }, /97.*prefixTokens and grid/s],
  [
    { kind: 'tokens', prefixTokens: 2, grid: [8, 12] },
    /2 prefix tokens and a grid of \[8, 12\] make 98 tokens, not 97/,
  ],
  ['nhwc', /gives \[2, 97, 32\]/],
];
for (const [reshapeTransform, message] of unreadable) {
  test(`${JSON.stringify(reshapeTransform)} that does not fit says what would`, async (t) => {
    const model = await sharedModel(modelPath('timm-vit-wide.pt'));
    const input = Tensor.from(noise(2 * 3 * 64 * 96), [2, 3, 64, 96]);
    const cam = new GradCAM({ model, targetLayers: 'blocks.1.norm1', reshapeTransform });
    const error = await t.throwsAsync(cam.explain(input), { instanceOf: GradCamError, message });
    t.is(error?.code, 'ERR_LAYER_OUTPUT');
  });
}

test('a token layer without a reshape transform says that one is needed', async (t) => {
  const model = await sharedModel(modelPath('timm-vit.pt'));
  const input = Tensor.from(noise(3 * 64 * 64), [1, 3, 64, 64]);
  const error = await t.throwsAsync(new GradCAM({ model, targetLayers: 'blocks.1.norm1' }).explain(input), {
    instanceOf: GradCamError,
    message: /reshapeTransform/,
  });
  t.is(error?.code, 'ERR_LAYER_OUTPUT');
});
