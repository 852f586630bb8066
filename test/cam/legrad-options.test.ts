import { copyFile, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import {
  compareMethods,
  Explainer,
  explainStream,
  LeGrad,
  loadModel,
  type Model,
  Tensor,
} from 'node-gradcam';
import { familyPath } from '../helpers/family.js';
import { noise } from '../helpers/fixtures.js';
import { photo, startServer } from '../helpers/server.js';

// LeGrad has no eigenSmooth, and says so whatever way an explain takes.

const reshapeTransform = { kind: 'tokens', prefixTokens: 1 } as const;
const image = () => Tensor.from(noise(3 * 24 * 24), [1, 3, 24, 24]);
const eigenSmooth = true;

const ways: Record<string, (model: Model) => Promise<unknown>> = {
  explain: (model) => new LeGrad({ model, reshapeTransform }).explain(image(), { eigenSmooth }),
  Explainer: (model) =>
    new Explainer({ model, method: 'legrad', reshapeTransform }).explain(image(), { eigenSmooth }),
  compareMethods: (model) =>
    compareMethods({ model, methods: ['legrad'], reshapeTransform }, image(), { eigenSmooth }),
  explainStream: (model) =>
    explainStream(new LeGrad({ model, reshapeTransform }), [image()], { eigenSmooth }).next(),
};

for (const [name, explain] of Object.entries(ways)) {
  test(`${name} refuses eigenSmooth`, async (t) => {
    await using model = await loadModel(familyPath('vit.pt'));
    const before = model.stats().jobs.done;
    await t.throwsAsync(explain(model), { code: 'ERR_UNSUPPORTED', message: /LeGrad has no eigenSmooth/ });
    t.is(model.stats().jobs.done, before, 'nothing was computed');
  });
}

test('an image of an Explainer that asks for it fails alone', async (t) => {
  await using model = await loadModel(familyPath('vit.pt'));
  const explainer = new Explainer({ model, method: 'legrad', reshapeTransform });
  const [refused, explained] = await Promise.allSettled([
    explainer.explain(image(), { eigenSmooth }),
    explainer.explain(image()),
  ]);
  t.deepEqual([refused.status, explained.status], ['rejected', 'fulfilled']);
});

test('the server answers 501 in each protocol', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-legrad-'));
  await copyFile(familyPath('vit.pt'), join(folder, 'vit.pt'));
  await writeFile(
    join(folder, 'vit.json'),
    JSON.stringify({ input: { width: 24, height: 24 }, reshapeTransform }),
  );
  await using running = await startServer({
    models: { vit: { path: join(folder, 'vit.pt'), method: 'legrad' } },
  });
  const instances = [{ b64: photo.toString('base64') }];
  const inputs = [{ name: 'x', shape: [1], datatype: 'BYTES', data: [photo.toString('base64')] }];
  t.is((await running.post('/explain/vit', photo)).status, 200);
  for (const answer of [
    await running.post('/explain/vit?eigen_smooth=true', photo),
    await running.post('/v1/models/vit:explain', { instances, eigen_smooth: true }),
    await running.post('/v2/models/vit/infer', { inputs, parameters: { eigen_smooth: true } }),
  ]) {
    t.is(answer.status, 501);
    t.like(await answer.json(), { code: 'ERR_UNSUPPORTED' });
  }
});
