// Our side of the benchmark: one JSON command per line on stdin, one JSON answer per line on stdout.
import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { Explainer, GradCAM, loadModel, setThreads, Tensor } from '../dist/lib/index.js';

const pixels = 3 * 224 * 224;
const state = {};

function readFloats(path) {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

const inputOf = (batch) => Tensor.from(state.input.subarray(0, batch * pixels), [batch, 3, 224, 224]);
const milliseconds = async (work) => {
  const start = performance.now();
  await work();
  return performance.now() - start;
};

const commands = {
  async prepare({ model, input, category, layer, reshapeTransform, threads }) {
    await state.model?.dispose();
    setThreads({ executors: 1, intraOpThreads: threads });
    state.input = readFloats(input);
    state.category = category;
    state.model = await loadModel(model);
    const options = { model: state.model, targetLayers: layer, reshapeTransform };
    state.ours = new GradCAM(options);
    state.plain = new GradCAM({ ...options, optimize: false });
    state.explainer = new Explainer({ ...options, maxBatch: 8 });
    return {};
  },

  async run({ contestant, batch, classes = 1, compare }) {
    const x = inputOf(batch);
    const targets = [Array.from({ length: classes }, (_, index) => (state.category + index) % 1000)];
    let explanation;
    const ms = await milliseconds(async () => {
      if (contestant === 'forward') await state.model.forward(x);
      else explanation = await state[contestant].explain(x, { targets });
    });
    x.dispose();
    if (!compare) {
      explanation?.dispose();
      return { ms };
    }
    const expected = readFloats(compare);
    const found = explanation.heatmaps.toTypedArray();
    return {
      ms,
      difference: found.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0),
    };
  },

  // As many callers as `callers`, each of which asks again when it has its answer, until `images` are explained.
  async concurrent({ callers, images }) {
    const x = inputOf(1);
    const delay = monitorEventLoopDelay({ resolution: 1 });
    let left = images;
    delay.enable();
    const ms = await milliseconds(() =>
      Promise.all(
        Array.from({ length: callers }, async () => {
          while (left-- > 0) (await state.explainer.explain(x, { targets: state.category })).dispose();
        }),
      ),
    );
    delay.disable();
    return { imagesPerSecond: (images / ms) * 1e3, eventLoopP99: delay.percentile(99) / 1e6 };
  },

  async direct({ batch, images }) {
    const x = inputOf(batch);
    const ms = await milliseconds(async () => {
      for (let done = 0; done < images; done += batch) {
        (await state.ours.explain(x, { targets: state.category })).dispose();
      }
    });
    return { imagesPerSecond: (images / ms) * 1e3 };
  },

  // Resident memory after `first` and after `last` explains of batches of 1 to 16 images of 64 x 64 pixels.
  async growth({ first, last }) {
    const inputs = Array.from({ length: 16 }, (_, index) =>
      Tensor.from(state.input.subarray(0, (index + 1) * 3 * 64 * 64), [index + 1, 3, 64, 64]),
    );
    const measured = {};
    for (let call = 1; call <= last; call++) {
      const explanation = await state.ours.explain(inputs[(call * 7) % 16], { targets: state.category });
      explanation.dispose();
      if (call === first || call === last) {
        globalThis.gc?.();
        measured[call] = process.memoryUsage.rss() / 2 ** 20;
      }
    }
    return { first: measured[first], last: measured[last] };
  },

  peak: () => ({ megabytes: process.resourceUsage().maxRSS / 1024 }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...command } = JSON.parse(line);
  let answer;
  try {
    answer = await commands[name](command);
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
