import { readFileSync } from 'node:fs';
import test from 'ava';
import { describePlan, GradCAM, loadModel, type Model, type Tensor } from 'node-gradcam';
import { closeToFloat64 } from '../helpers/float64-result.js';
import { fusionBatch, fusionCases } from '../helpers/fusion-cases.js';
import { fixturePath } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';

// precision: 'bfloat16', against the float64 result; the yardstick is what PyTorch's own bfloat16 is off (torch.autocast).

/** The processor's own, whatever LibTorch makes of it. */
const has = /\bavx512_bf16\b/.test(process.platform === 'linux' ? readFileSync('/proc/cpuinfo', 'utf8') : '');
const limited = /^(SSE41|AVX|AVX2|AVX2_VNNI|AVX512_CORE|AVX512_CORE_VNNI)$/.test(
  process.env.ONEDNN_MAX_CPU_ISA ?? '',
);
const available = has && !limited;

const models = new Map<string, Promise<Model>>();
const loaded = (name: string) => {
  const model = models.get(name) ?? loadModel(fixturePath(`fusions/${name}.pt`), { precision: 'bfloat16' });
  models.set(name, model);
  return model;
};
test.after.always(async () => {
  for (const model of models.values()) await (await model).dispose();
});

if (available) {
  for (const { name, axes, layer, category, maps, outputs, bfloat16Error } of fusionCases) {
    test(`${name} at ${layer}`, async (t) => {
      const images = fusionBatch(axes);
      const model = await loaded(name);
      const cam = new GradCAM({ model, targetLayers: layer });
      for (let call = 0; call < 3; call++) {
        // As weights were, then in oneDNN's order.
        const explained = await cam.explain(images, { targets: category, upsample: false });
        closeToFloat64(t, 'map', explained.heatmaps, maps.values, { referenceError: bfloat16Error.maps });
        for (const given of [explained.outputs, await model.forward(images)] as Tensor[]) {
          t.is(given.dtype, 'float32');
          closeToFloat64(t, 'outputs', given, outputs.values, { referenceError: bfloat16Error.outputs });
        }
      }
      const again = await cam.explain(images, { targets: category, upsample: false });
      const once = await cam.explain(images, { targets: category, upsample: false });
      t.deepEqual(again.heatmaps.toTypedArray(), once.heatmaps.toTypedArray());
    });
  }

  test('the plan says what it is computed in', async (t) => {
    t.is((await describePlan(await loaded('residuals'), 'final')).precision, 'bfloat16');
    await using plain = await loadModel(fixturePath('fusions/residuals.pt'));
    t.is((await describePlan(plain, 'final')).precision, 'float32');
  });

  test('weights that are not float32 are refused', async (t) => {
    await t.throwsAsync(
      loadModel(fixturePath('fusions/residuals.pt'), { precision: 'bfloat16', dtype: 'float64' }),
      { code: 'ERR_UNSUPPORTED', message: /float32/ },
    );
  });
} else {
  test('a processor without bfloat16 refuses it, and says what to do', async (t) => {
    await t.throwsAsync(loadModel(fixturePath('fusions/residuals.pt'), { precision: 'bfloat16' }), {
      code: 'ERR_UNSUPPORTED',
      message: /AVX512-BF16.*Load without precision/s,
    });
  });
}

test('oneDNN kept from it refuses it', async (t) => {
  const { code, stdout, stderr } = await runScript(
    `const { loadModel } = await import('node-gradcam');
     await loadModel(${JSON.stringify(fixturePath('fusions/residuals.pt'))}, { precision: 'bfloat16' }).catch((error) => console.log(error.code, error.message));`,
    { ONEDNN_MAX_CPU_ISA: 'AVX2' },
  );
  t.is(code, 0, stderr);
  t.regex(stdout, /ERR_UNSUPPORTED .*ONEDNN_MAX_CPU_ISA/);
});

test('what is no precision is refused', async (t) => {
  await t.throwsAsync(loadModel(fixturePath('fusions/residuals.pt'), { precision: 'float16' as never }), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
});
