import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import {
  GradCAM,
  loadImage,
  loadModel,
  loadModelWithSidecar,
  type ModelArguments,
  type Tensor,
} from 'node-gradcam';
import { collectManifest, submitBatch } from 'node-gradcam/batch';
import { newQueue, readManifest, withRedis, workUntilDone } from '../helpers/batch.js';
import { gradcam, photo, refused } from '../helpers/cli.js';
import { temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath } from '../helpers/root.js';
import { startServer } from '../helpers/server.js';

// The same arguments by the sidecar, on the command line, over HTTP and in batches. The model takes a number.

const original = fixturePath('model-kinds/takes-number.pt');
const input = { width: 14, height: 14 };

async function modelWith(t: ExecutionContext, sidecar?: Record<string, unknown>) {
  const folder = temporaryFolder(t);
  const model = join(folder, 'model.pt');
  await copyFile(original, model);
  if (sidecar)
    await writeFile(join(folder, 'model.json'), JSON.stringify({ input, layer: 'conv', ...sidecar }));
  return { folder, model };
}

/** The score of class 3, and the first output. */
async function expected(rate: number): Promise<{ score: number; output: number }> {
  await using model = await loadModel(original);
  const { tensor } = await loadImage(photo, { size: input });
  const { maps, outputs } = await new GradCAM({ model, targetLayers: 'conv' }).explain(tensor, {
    arguments: { rate },
    targets: 3,
  });
  return { score: maps[0]?.score ?? Number.NaN, output: Number((outputs as Tensor).toTypedArray()[0]) };
}

const near = (t: ExecutionContext, actual: number | undefined, wanted: number) =>
  t.true(Math.abs((actual ?? Number.NaN) - wanted) < 1e-4, `${actual}, not ${wanted}`);

test.serial('gradcam explain --argument, and the sidecar behind it', async (t) => {
  const bare = await modelWith(t);
  const how = ['--size', '14', '--layer', 'conv', '--class', '3', '--json', '-o', 'out.png'];
  const scoreOf = async ({ folder, model }: typeof bare, ...more: string[]) => {
    const { code, stdout, stderr } = await gradcam(['explain', model, photo, ...how, ...more], folder);
    t.is(code, 0, stderr);
    return JSON.parse(stdout).images[0].explained[0].score as number;
  };
  const [one, half] = [(await expected(1.5)).score, (await expected(0.5)).score];
  t.true(Math.abs(one - half) > 0.01);
  near(t, await scoreOf(bare, '--argument', 'rate=1.5'), one);
  near(t, await scoreOf(bare, '--argument', 'rate=7', '--argument', 'rate=0.5'), half);
  const described = await modelWith(t, { arguments: { rate: 1.5 } });
  near(t, await scoreOf(described), one);
  near(t, await scoreOf(described, '--argument', 'rate=0.5'), half);

  const explain = ['explain', bare.model, photo, ...how];
  await refused(
    t,
    explain,
    2,
    /nothing for the parameter 'rate' \(Tensor\).*ERR_MODEL_ARGUMENTS/,
    bare.folder,
  );
  const wrong = (value: string) => [...explain, '--argument', value];
  await refused(t, wrong('rate=fast'), 2, /a tensor's numbers .* received 'fast' \(string\)/, bare.folder);
  await refused(t, wrong('speed=1'), 2, /no parameter 'speed'/, bare.folder);
  t.regex((await gradcam(wrong('rate'), bare.folder)).stderr, /a name and a value, such as sr=16000/);
});

test.serial('the other commands take --argument too, and init-sidecar writes it', async (t) => {
  const { folder, model } = await modelWith(t);
  const size = ['--size', '14'];
  for (const command of [
    ['layers', model, '--input-size', '14'],
    ['attribute', model, photo, '-m', 'saliency', ...size],
    ['factorize', model, photo, '-k', '2', '-l', 'conv', ...size],
    ['evaluate', model, photo, '-m', 'gradcam', '-l', 'conv', ...size],
    ['init-sidecar', model, ...size],
  ]) {
    const without = await gradcam(command, folder);
    t.is(without.code, 2, without.stderr);
    t.regex(without.stderr, /ERR_MODEL_ARGUMENTS/);
    const { code, stderr } = await gradcam([...command, '--argument', 'rate=1.5'], folder);
    t.is(code, 0, stderr);
  }
  const written = JSON.parse(await readFile(join(folder, 'model.json'), 'utf8'));
  t.deepEqual(written.arguments, { rate: 1.5 });
  await using described = await loadModelWithSidecar(model);
  const { tensor } = await described.loadImage(photo);
  await t.notThrowsAsync(() => described.model.forward(tensor));
});

test('a sidecar’s arguments are checked', async (t) => {
  for (const [wrong, message] of [
    [[1], /arguments: .*expected record/i],
    [
      { rate: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]] },
      /arguments: .*32 levels/,
    ],
  ] as const) {
    const { model } = await modelWith(t, { arguments: wrong });
    await t.throwsAsync(() => loadModelWithSidecar(model), { code: 'ERR_SIDECAR', message });
  }
  for (const [wrong, message] of [
    [{ rate: 'x' }, /Expected a tensor's numbers for the argument 'rate'/],
    [{ speed: 1 }, /no parameter 'speed' beside its input/],
  ] as const) {
    const { model } = await modelWith(t, { arguments: wrong });
    await t.throwsAsync(() => loadModelWithSidecar(model), { code: 'ERR_MODEL_ARGUMENTS', message });
  }
  const { model } = await modelWith(t, { arguments: { rate: 'x' } });
  await using overridden = await loadModelWithSidecar(model, { arguments: { rate: 1 } });
  t.is(overridden.model.signatures.forward, 'forward(x: Tensor, rate: Tensor)');
});

interface Answer {
  readonly error?: string;
  readonly code?: string;
  readonly explained?: readonly { readonly score: number }[];
  readonly predictions?: readonly number[][];
  readonly explanations?: readonly { readonly maps: readonly { readonly score: number }[] }[];
  readonly outputs?: readonly { readonly data: readonly number[] }[];
}

test('the protocols of the server: the sidecar’s arguments, and those of a request', async (t) => {
  const { model } = await modelWith(t, { arguments: { rate: 1.5 } });
  await using running = await startServer({ models: { number: model } });
  const [one, half] = [await expected(1.5), await expected(0.5)];
  const bytes = await readFile(photo);
  const picture = { 'content-type': 'image/png' };
  const json = async (path: string, body: unknown, headers = {}) => {
    const response = await running.post(path, body, headers);
    return { status: response.status, answer: (await response.json()) as Answer };
  };
  const plain = async (given: string) => {
    const query = new URLSearchParams({ format: 'json', class: '3', ...(given ? { arguments: given } : {}) });
    return await json(`/explain/number?${query}`, bytes, picture);
  };
  near(t, (await plain('')).answer.explained?.[0]?.score, one.score);
  near(t, (await plain('{"rate": 0.5}')).answer.explained?.[0]?.score, half.score);
  for (const [given, code, message] of [
    ['{"rate": "x"}', 'ERR_MODEL_ARGUMENTS', /a tensor's numbers/],
    ['{"speed": 1}', 'ERR_MODEL_ARGUMENTS', /no parameter 'speed'/],
    ['{"rate":', 'ERR_INVALID_REQUEST', /arguments: It is not JSON/],
    ['[1]', 'ERR_INVALID_REQUEST', /arguments: Expected an object/],
  ] as const) {
    const { status, answer } = await plain(given);
    t.is(status, 400, given);
    t.is(answer.code, code);
    t.regex(answer.error ?? '', message);
  }

  const instances = [{ b64: bytes.toString('base64') }];
  for (const [given, { score, output }] of [
    [undefined, one],
    [{ rate: 0.5 }, half],
  ] as const) {
    const v1 = { instances, ...(given ? { arguments: given } : {}) };
    const predicted = (await json('/v1/models/number:predict', v1)).answer;
    near(t, predicted.predictions?.[0]?.[0], output);
    const explained = (await json('/v1/models/number:explain', { ...v1, class: 3 })).answer;
    near(t, explained.explanations?.[0]?.maps[0]?.score, score);
    const inputs = [{ name: 'input', shape: [1], datatype: 'BYTES', data: [instances[0]?.b64] }];
    const parameters = given ? { arguments: JSON.stringify(given) } : {};
    const infer = async (more: object, outputs: object[]) => {
      const { answer } = await json('/v2/models/number/infer', {
        inputs,
        outputs,
        parameters: { ...parameters, ...more },
      });
      return answer.outputs?.[0]?.data[0];
    };
    near(t, await infer({}, [{ name: 'output' }]), output);
    near(t, await infer({ class: 3 }, [{ name: 'scores' }]), score);
  }
  const refusedBy = async (path: string, body: object) => (await json(path, { instances, ...body })).status;
  t.is(await refusedBy('/v1/models/number:predict', { arguments: { speed: 1 } }), 400);
  t.is(await refusedBy('/v1/models/number:explain', { arguments: 5 }), 400);
});

withRedis('a batch: the sidecar’s arguments, and those of a submission', async (t) => {
  const { folder, model } = await modelWith(t, { arguments: { rate: 1.5 } });
  const scores: number[] = [];
  const keys: string[] = [];
  for (const given of [{}, { arguments: { rate: 0.5 } }]) {
    const { address } = newQueue();
    const output = join(folder, `out-${scores.length}`);
    await submitBatch({ ...address, model, images: [photo], output, classes: [3], format: 'none', ...given });
    await workUntilDone(address);
    await collectManifest(output);
    for (const entry of await readManifest(output)) {
      if (!('explained' in entry)) return t.fail();
      scores.push(entry.explained[0]?.score ?? Number.NaN);
      keys.push(entry.output);
    }
  }
  near(t, scores[0], (await expected(1.5)).score);
  near(t, scores[1], (await expected(0.5)).score);
  t.not(keys[0], keys[1], 'results are named by the arguments, too');

  const submit = (given: ModelArguments) =>
    submitBatch({ ...newQueue().address, model, images: [photo], output: folder, arguments: given });
  for (const rate of [1n, Number.NaN, -0])
    await t.throwsAsync(() => submit({ rate }), { code: 'ERR_INVALID_ARG_TYPE', message: /JSON holds/ });
  await t.throwsAsync(() => submit({ speed: 1 }), { code: 'ERR_MODEL_ARGUMENTS' });
});
