import test from 'ava';
import * as library from 'node-gradcam';
import {
  compareMethods,
  Explainer,
  GradCAM,
  guidedGradCam,
  loadModel,
  type Model,
  Tensor,
} from 'node-gradcam';
import { noise } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';

// What a program may do wrong, on purpose or not, with arguments that look right (wrong-arguments.test.ts has the others):
// nothing of it reaches what others get.

const shape = [1, 3, 24, 24];
const image = () => Tensor.from(noise(3 * 24 * 24), shape);

let model: Model;
test.before(async () => {
  model = await loadModel(fixturePath('scripted.pt'));
});
test.after.always(() => model.dispose());

test('getters and proxies that throw reach the caller as they are', async (t) => {
  const reason = new Error('on purpose');
  const throwing = (key: string) =>
    Object.defineProperty({}, key, {
      enumerable: true,
      get: () => {
        throw reason;
      },
    });
  const hostile = new Proxy(
    {},
    {
      get: () => {
        throw reason;
      },
      ownKeys: () => {
        throw reason;
      },
    },
  );
  t.throws(() => new GradCAM(throwing('targetLayers') as never), { is: reason });
  t.throws(() => new GradCAM(hostile as never), { is: reason });
  const cam = new GradCAM({ model });
  await t.throwsAsync(cam.explain(image(), throwing('targets') as never), { is: reason });
  await t.throwsAsync(cam.explain(hostile as never), { is: reason });
  await t.throwsAsync(loadModel('x.pt', hostile as never), { is: reason });
  const shapeThatThrows = {
    data: noise(4),
    get shape(): number[] {
      throw reason;
    },
  };
  await t.throwsAsync(model.forward(shapeThatThrows), { is: reason });
  let reads = 0;
  const counting = {
    get upsample() {
      reads++;
      return reads === 1;
    },
  };
  (await cam.explain(image(), counting)).dispose();
  t.is(reads, 1, 'an option is read once');
});

test('methods borrowed onto wrong objects are TypeErrors', async (t) => {
  const wrong = [{}, null, undefined, 7, Object.create(Tensor.prototype), model, new GradCAM({ model })];
  for (const receiver of wrong) {
    t.throws(() => Tensor.prototype.toTypedArray.call(receiver as never), { instanceOf: TypeError });
    t.throws(() => Tensor.prototype.dispose.call(receiver as never), { instanceOf: TypeError });
    if (receiver !== model) {
      t.throws(() => library.Model.prototype.layers.call(receiver as never), { instanceOf: TypeError });
      await t.throwsAsync(async () => library.Model.prototype.dispose.call(receiver as never), {
        instanceOf: TypeError,
      });
    }
    if (receiver instanceof GradCAM) continue;
    await t.throwsAsync(async () => GradCAM.prototype.explain.call(receiver as never, image()), {
      instanceOf: TypeError,
    });
  }
  t.false(model.disposed);
});

test('the input may be disposed, changed or transferred as soon as the call has returned', async (t) => {
  const explainer = new Explainer({ model });
  const calls: readonly [string, (input: Tensor) => Promise<unknown>][] = [
    ['a named layer', (input) => new GradCAM({ model, targetLayers: 'layer2' }).explain(input)],
    ['a suggested layer', async (input) => new GradCAM({ model: await again }).explain(input)],
    ['an Explainer', (input) => explainer.explain(input)],
    ['an Explainer that looks for a layer', (input) => new Explainer({ model: fresh }).explain(input)],
    ['compareMethods', (input) => compareMethods({ model, methods: ['gradcam', 'ablationcam'] }, input)],
    [
      'guidedGradCam',
      (input) => guidedGradCam(new GradCAM({ model: fresh }), new library.GuidedBackprop({ model }), input),
    ],
  ];
  const again = loadModel(fixturePath('scripted.pt'));
  await using fresh = await loadModel(fixturePath('scripted.pt'));
  await using other = await again;
  for (const [name, call] of calls) {
    const input = image();
    const pending = name === 'a suggested layer' ? new GradCAM({ model: other }).explain(input) : call(input);
    input.dispose();
    await t.notThrowsAsync(pending, name);
  }
});

test('a signal is heard before, while waiting, while a layer is looked for, while running, and not after', async (t) => {
  const reason = new Error('on purpose');
  await using fresh = await loadModel(fixturePath('scripted.pt'));
  const cams = [
    new GradCAM({ model, targetLayers: 'layer2' }),
    new GradCAM({ model: fresh }),
    new Explainer({ model }),
  ];
  for (const cam of cams) {
    await t.throwsAsync(cam.explain(image(), { signal: AbortSignal.abort(reason) }), { is: reason });
    const controller = new AbortController();
    const pending = cam.explain(image(), { signal: controller.signal });
    controller.abort(reason);
    await t.throwsAsync(pending, { is: reason });
    const after = new AbortController();
    const { heatmaps } = await cam.explain(image(), { signal: after.signal });
    after.abort(reason);
    t.is(heatmaps.shape[0], 1);
  }
  const { jobs } = model.stats();
  t.is(jobs.failed, 0);
});

test('an object on whose prototype others have written is not ours to read', async (t) => {
  const { code, stderr } = await runScript(`
    import { GradCAM, loadModel, Tensor, AblationCAM, ClassifierOutputTarget } from 'node-gradcam';
    const model = await loadModel('test/fixtures/scripted.pt');
    const image = () => Tensor.from(new Float32Array(3 * 24 * 24).map((_, index) => Math.sin(index)), [1, 3, 24, 24]);
    const explain = async () => {
      const maps = [];
      for (const Method of [GradCAM, AblationCAM]) {
        const { heatmaps } = await new Method({ model }).explain(image(), { targets: new ClassifierOutputTarget(1) });
        maps.push(heatmaps.toTypedArray().join());
      }
      return maps.join() + (await model.forward(image())).toTypedArray().join();
    };
    const before = await explain();
    const names = ['targetLayers', 'output', 'optimize', 'upsample', 'augSmooth', 'eigenSmooth', 'signal', 'device',
      'dtype', 'targets', 'reshapeTransform', 'category', 'others', 'alpha', 'tensor', 'scripted', 'function', 'seed',
      'batchSize', 'noise', 'samples', 'linear', 'multiplyLayers', 'ratioToAblate', 'grid', 'prefixTokens', 'first',
      'sha256', 'preflight', 'onProgress', 'keepDimensions'];
    for (const name of names) Object.prototype[name] = { polluted: true };
    Array.prototype.polluted = 1;
    const other = await loadModel('test/fixtures/scripted.pt');
    await other.dispose();
    const after = await explain();
    for (const name of names) delete Object.prototype[name];
    delete Array.prototype.polluted;
    if (after !== before) throw new Error('other maps');`);
  t.is(code, 0, stderr);
});

test('whatever happened here, the model still explains', async (t) => {
  const { heatmaps } = await new GradCAM({ model }).explain(image());
  t.deepEqual(heatmaps.shape, [1, 24, 24]);
});
