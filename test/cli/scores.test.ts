import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import sharp from 'sharp';
import {
  DeepFeatureFactorization,
  imageOptions,
  loadImage,
  loadModel,
  loadSidecar,
  type Sidecar,
  type Tensor,
} from '../../lib/index.js';
import { gradcam, refused } from '../helpers/cli.js';
import { closeToFloat64 } from '../helpers/float64-result.js';
import { caseNamed, described, golden, highest, input, scoresPath } from '../helpers/scores.js';

// Probabilities and predicted sides as the command line tells them.

interface Report {
  readonly scores: string | null;
  readonly note: string | null;
  readonly top: readonly { classIndex: number; label: string | null; probability: number | null }[];
  readonly explained: Report['top'];
}

async function explain(t: ExecutionContext, model: string, picture: string, ...args: string[]) {
  const output = join(await mkdtemp(join(tmpdir(), 'gradcam-scores-')), 'map.json');
  const run = await gradcam(['explain', model, picture, '-o', output, '--json', ...args]);
  t.is(run.code, 0, run.stderr);
  const { images } = JSON.parse(run.stdout) as { images: [Report] };
  const map = JSON.parse(await readFile(output, 'utf8')) as { data?: unknown };
  return { report: images[0], map: flat(map.data ?? map) };
}

const flat = (data: unknown): number[] => (Array.isArray(data) ? data.flat(9) : []) as number[];

for (const { name, scores, labels, probabilities, maps } of golden.classifiers) {
  test.serial(`${name}: --json has the model's probabilities`, async (t) => {
    const { model, picture } = await described(name, { scores, ...(labels ? { labels } : {}) });
    const { report, map } = await explain(t, model, picture);
    t.is(report.scores, scores);
    t.is(report.note, null);
    for (const { classIndex, label, probability } of report.top) {
      t.is(label, labels?.[classIndex] ?? null);
      closeToFloat64(
        t,
        `class ${classIndex}`,
        [probability ?? Number.NaN],
        [probabilities.values[classIndex] ?? 0],
        probabilities,
      );
    }
    const best = highest(probabilities.values);
    t.is(report.top[0]?.classIndex, best);
    t.is(report.explained[0]?.classIndex, best);
    closeToFloat64(t, 'map', map, maps[best]?.values ?? [], maps[best] as never);
  });
}

test.serial('without a word of the sidecar: what is certain, and never 100 % for one output', async (t) => {
  const labels = ['healthy', 'ill'];
  const certain = await described('one-logit-negative', { labels });
  const text = await gradcam(['explain', certain.model, certain.picture, '-o', certain.folder]);
  t.regex(text.stdout, /88\.1% {2}healthy \(0\)\n +11\.9% {2}ill \(1\)\n +explained: healthy \(0\)/);
  const inside = await described('softmax-inside', {});
  t.is((await explain(t, inside.model, inside.picture)).report.scores, 'probabilities');

  const bare = await described('one-logit-negative', {});
  const alone = await gradcam(['explain', bare.model, bare.picture, '-o', bare.folder]);
  t.notRegex(alone.stdout, /%|NaN/);
  t.regex(alone.stdout, / - {2}class 0\n.*\n +no probabilities: .*"scores": "binary"/s);

  const doubtful = await described('one-sigmoid', { labels });
  const args = ['explain', doubtful.model, doubtful.picture, '-o', doubtful.folder];
  const run = await gradcam(args);
  t.is(run.code, 3);
  t.regex(run.stderr, /"scores": "binary" \(a logit\) or "probabilities"/);
  const { report } = await explain(t, doubtful.model, doubtful.picture, '--class', 'ill');
  t.deepEqual(report.explained[0]?.probability, null);
  t.is(report.explained[0]?.label, 'ill');
});

test.serial('class names of one output are targets', async (t) => {
  const { labels = [], maps, probabilities } = caseNamed('one-logit-negative');
  const { model, picture } = await described('one-logit-negative', { scores: 'binary', labels });
  for (const [side, label] of labels.entries()) {
    const { report, map } = await explain(t, model, picture, '--class', label);
    t.is(report.explained[0]?.label, label);
    t.true(Math.abs((report.explained[0]?.probability ?? 0) - (probabilities.values[side] ?? 0)) < 1e-6);
    closeToFloat64(t, label, map, maps[side]?.values ?? [], maps[side] as never);
  }
  await refused(
    t,
    ['explain', model, picture, '--class', '2', '-o', join(tmpdir(), 'x.png')],
    2,
    /2 classes/,
  );
});

test.serial('several labels of a multi-label model', async (t) => {
  const { model, picture, folder } = await described('multi-label', { scores: 'sigmoid' });
  const run = await gradcam(['explain', model, picture, '--top', '3', '--json', '-o', folder]);
  const [report] = (JSON.parse(run.stdout) as { images: [Report] }).images;
  t.deepEqual(
    report.explained.map(({ classIndex }) => classIndex),
    [2, 0, 1],
  );
  t.true(report.explained.every(({ probability }) => (probability ?? 0) > 0.8));
});

test.serial('factorize names concepts by probabilities of the kind that the model has', async (t) => {
  const sigmoid = (logit: number) => 1 / (1 + Math.exp(-logit));
  const softmax = (logit: number, logits: readonly number[]) =>
    1 / logits.reduce((sum, other) => sum + Math.exp(other - logit), 0);
  for (const [name, probabilityOf] of [
    ['multi-label', sigmoid],
    ['softmax-inside', softmax],
    ['one-logit-negative', (logit: number) => Math.max(sigmoid(logit), sigmoid(-logit))],
  ] as const) {
    const { scores, labels } = caseNamed(name);
    const { model, picture, folder } = await described(name, { scores, ...(labels ? { labels } : {}) });
    const args = ['factorize', model, picture, '-k', '2', '--linear', 'head', '-o', join(folder, 'c.png')];
    const run = await gradcam(args);
    t.is(run.code, 0, run.stderr);
    const printed = [...run.stdout.matchAll(/concept \d: .*?:(\d\.\d\d)(?=,|$)/gm)].map(([, value]) =>
      Number(value),
    );

    await using loaded = await loadModel(model);
    const { tensor } = await loadImage(picture, imageOptions((await loadSidecar(model)) as Sidecar));
    const targetLayer = (await loaded.suggestLayer(tensor)).path;
    const factorization = new DeepFeatureFactorization({
      model: loaded,
      targetLayer,
      computationOnConcepts: 'head',
    });
    const { conceptOutputs } = await factorization.factorize(tensor, { components: 2 });
    const expected = [0, 1].map((concept) => {
      const logits = Array.from((conceptOutputs as Tensor).at(concept).toTypedArray(), Number);
      return Math.max(...logits.map((logit) => probabilityOf(logit, logits)));
    });
    t.deepEqual(
      printed,
      expected.map((value) => Number(value.toFixed(2))),
      `${name}\n${run.stdout}`,
    );
  }
});

test.serial('16 bits are read by --range in every command that reads pictures', async (t) => {
  const { model, folder } = await described('logits', {});
  const deep = join(folder, 'deep.png');
  const values = Uint16Array.from({ length: 3 * 16 * 16 }, (_, index) => (index * 37) % 4096);
  await sharp(values, { raw: { width: 16, height: 16, channels: 3 } })
    .toColourspace('rgb16')
    .png()
    .toFile(deep);
  const map = async (...args: string[]) => {
    const output = join(folder, 'map.json');
    const run = await gradcam(['attribute', model, deep, '-m', 'saliency', '-c', '0', '-o', output, ...args]);
    t.is(run.code, 0, run.stderr);
    return await readFile(output, 'utf8');
  };
  t.not(await map('--range', '0,4095'), await map());
  const evaluated = await gradcam([
    'evaluate',
    model,
    deep,
    '--methods',
    'gradcam',
    '--range',
    '0,4095',
    '--json',
  ]);
  t.is(evaluated.code, 0, evaluated.stderr);
});

test.serial(
  'evaluate measures with the probability that is meant; attribute takes the predicted side',
  async (t) => {
    for (const name of ['one-logit-negative', 'one-sigmoid', 'multi-label', 'softmax-inside']) {
      const { scores, labels } = caseNamed(name);
      const { model, picture, folder } = await described(name, { scores, ...(labels ? { labels } : {}) });
      const run = await gradcam(['evaluate', model, picture, '--methods', 'gradcam', '--json']);
      t.is(run.code, 0, run.stderr);
      const { methods } = JSON.parse(run.stdout) as { methods: { gradcam: Record<string, number> } };
      // The area under a probability.
      t.true((methods.gradcam.insertion ?? -1) > 0 && (methods.gradcam.insertion ?? 2) < 1);
      const attribution = async (...args: string[]) => {
        const file = join(folder, 'attribution.json');
        const { code, stderr } = await gradcam([
          'attribute',
          ...[model, picture, '-m', 'saliency', '-o', file],
          ...args,
        ]);
        t.is(code, 0, stderr);
        return await readFile(file, 'utf8');
      };
      const side = highest(caseNamed(name).probabilities.values);
      const own = await attribution();
      t.is(own, await attribution('--class', String(side)));
      if (labels) t.not(own, await attribution('--class', String(1 - side)));
    }
  },
);

test.serial('init-sidecar writes what is certain, and what is said', async (t) => {
  const labels = join(await mkdtemp(join(tmpdir(), 'gradcam-scores-')), 'labels.txt');
  await writeFile(labels, 'healthy\nill\n');
  const init = async (name: string, ...args: string[]) => {
    const { model } = await described(name, {});
    const run = await gradcam(['init-sidecar', model, '--size', '24', '--force', ...args]);
    const text = await readFile(model.replace(/pt$/, 'json'), 'utf8');
    return { run, scores: (JSON.parse(text) as { scores?: string }).scores };
  };
  t.is((await init('softmax-inside')).scores, 'probabilities');
  t.is((await init('logits')).scores, undefined);
  t.is((await init('one-logit-negative', '--labels', labels)).scores, 'binary');
  const unsaid = await init('one-sigmoid', '--labels', labels);
  t.is(unsaid.scores, undefined);
  t.regex(unsaid.run.stdout.replace(/\s+/g, ' '), /scores not said: .*may be a logit or a probability/);
  t.is((await init('one-sigmoid', '--labels', labels, '--scores', 'probabilities')).scores, 'probabilities');
  t.is((await init('multi-label', '--scores', 'sigmoid')).scores, 'sigmoid');
  const wrong = await init('logits', '--scores', 'binary');
  t.not(wrong.run.code, 0);
  t.regex(wrong.run.stderr, /one output/);
});

test.serial('a segmentation model, and outputs that contradict the sidecar', async (t) => {
  const { picture } = await described('logits', {});
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-scores-'));
  await refused(
    t,
    ['explain', scoresPath('segment-logits.pt'), picture, '-o', folder, '--size', '24'],
    3,
    /segmentation.*SemanticSegmentationTarget/,
  );
  const wrong = await described('logits', { scores: 'probabilities' });
  const run = await gradcam(['explain', wrong.model, wrong.picture, '-o', folder]);
  t.regex(run.stderr, /"scores": "probabilities" is for outputs from 0 to 1/);
  const misspelt = await described('logits', { scores: 'softmax', input });
  const invalid = await gradcam(['explain', misspelt.model, misspelt.picture, '-o', folder]);
  t.regex(invalid.stderr, /scores: .*ERR_SIDECAR/s);
});
