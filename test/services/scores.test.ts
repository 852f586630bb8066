import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { collectManifest, submitBatch } from 'node-gradcam/batch';
import { newQueue, readManifest, submission, withRedis, workUntilDone } from '../helpers/batch.js';
import { closeToFloat64 } from '../helpers/float64-result.js';
import { caseNamed, described, golden, highest } from '../helpers/scores.js';
import { startServer } from '../helpers/server.js';

// The same in the server's protocols and in batches.

interface Told {
  readonly class: number;
  readonly label: string | null;
  readonly probability: number | null;
}
interface Answer {
  readonly scores: string | null;
  readonly note: string | null;
  readonly top: readonly Told[];
  readonly explained: readonly (Told & { heatmap: { data: string } })[];
  readonly maps: readonly (Told & { heatmap: string })[];
}

const floats = (base64: string) => {
  const bytes = Buffer.from(base64, 'base64');
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
};

for (const name of ['one-logit-negative', 'one-logit-positive', 'multi-label', 'softmax-inside']) {
  test(`${name}: the protocols of the server`, async (t) => {
    const { scores, labels, probabilities, maps } = caseNamed(name);
    const { model, picture } = await described(name, { scores, ...(labels ? { labels } : {}) });
    await using running = await startServer({ models: { kind: model } });
    const best = highest(probabilities.values);
    const map = maps[best];
    const check = ({ top }: Pick<Answer, 'top'>, heatmap: Float32Array, told: Told | undefined) => {
      t.is(told?.class, best);
      t.is(told?.label ?? null, labels?.[best] ?? null);
      for (const { class: index, probability } of [...top, ...(told ? [told] : [])])
        t.true(Math.abs((probability ?? Number.NaN) - (probabilities.values[index] ?? 0)) < 1e-5);
      closeToFloat64(t, 'map', heatmap, map?.values ?? [], map as never);
    };
    const bytes = await readFile(picture);
    const plain = await running.post('/explain/kind?format=json', bytes, { 'content-type': 'image/png' });
    const answer = (await plain.json()) as Answer;
    t.deepEqual([answer.scores, answer.note], [scores, null]);
    check(answer, floats(answer.explained[0]?.heatmap.data ?? ''), answer.explained[0]);

    const body = { instances: [{ b64: bytes.toString('base64') }], heatmap: 'base64' };
    const kserve = await running.post('/v1/models/kind:explain', body);
    const [first] = ((await kserve.json()) as { explanations: [Answer] }).explanations;
    t.is(first.scores, scores);
    check(first, floats(first.maps[0]?.heatmap ?? ''), first.maps[0]);

    const infer = await running.post('/v2/models/kind/infer', {
      inputs: [{ name: 'input', shape: golden.picture.shape, datatype: 'FP32', data: golden.picture.values }],
      outputs: [{ name: 'classes' }, { name: 'heatmap' }],
    });
    const { outputs } = (await infer.json()) as { outputs: { name: string; data: number[] }[] };
    t.deepEqual(outputs.find((each) => each.name === 'classes')?.data, [best]);
    const values = outputs.find((each) => each.name === 'heatmap')?.data ?? [];
    closeToFloat64(t, 'infer', values, map?.values ?? [], map as never);
  });
}

test('where nothing is certain, the server has no probability and says why', async (t) => {
  const { model, picture } = await described('one-sigmoid', { labels: ['healthy', 'ill'] });
  await using running = await startServer({ models: { kind: model } });
  const bytes = await readFile(picture);
  const ask = (query: string) =>
    running.post(`/explain/kind?format=json${query}`, bytes, { 'content-type': 'image/png' });
  const refused = await ask('');
  t.is(refused.status, 501);
  t.regex(await refused.text(), /ERR_UNSUPPORTED/);
  const named = (await (await ask('&class=ill')).json()) as Answer;
  t.is(named.explained[0]?.probability, null);
  t.regex(named.note ?? '', /"probabilities"/);
});

withRedis('a batch: sides by name and prediction, and pictures of kinds that cannot be read', async (t) => {
  const { labels = [], probabilities } = caseNamed('one-logit-negative');
  const { model, picture, folder } = await described('one-logit-negative', { scores: 'binary', labels });
  const photos = join(folder, 'photos');
  await mkdir(photos);
  await writeFile(join(photos, 'a.png'), await readFile(picture));
  await writeFile(join(photos, 'scan.dcm'), Buffer.concat([Buffer.alloc(128), Buffer.from('DICM')]));
  await writeFile(join(photos, 'notes.txt'), 'no picture');
  for (const [extra, side] of [
    [{}, 0],
    [{ classes: ['ill'] }, 1],
  ] as const) {
    const { address } = newQueue();
    const output = await mkdtemp(join(tmpdir(), 'gradcam-scores-'));
    const { targetLayers: _, image: __, ...options } = submission(folder, address, { output, format: 'npy' });
    const submitted = await submitBatch({ ...options, model, images: [photos], output, ...extra });
    t.is(submitted.images, 2);
    await workUntilDone(address);
    t.is((await collectManifest(output)).failed, 1);
    const entries = await readManifest(output);
    const [done] = entries.flatMap((entry) => ('explained' in entry ? entry.explained : []));
    t.deepEqual([done?.classIndex, done?.label], [side, labels[side]]);
    t.true(Math.abs((done?.probability ?? 0) - (probabilities.values[side] ?? 0)) < 1e-6);
    const [failed] = entries.flatMap((entry) => ('error' in entry ? [entry.error] : []));
    t.is(failed?.code, 'ERR_IMAGE_LOAD');
    t.regex(failed?.message ?? '', /scan\.dcm.*DICOM/);
  }
});
