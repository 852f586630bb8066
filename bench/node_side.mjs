// Our side of the benchmark: one JSON command per line on stdin, one JSON answer per line on stdout.
import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import * as library from '../dist/lib/index.js';
import { median } from './statistics.mjs';
import { largestDifference, readFloats } from './values.mjs';

const { GradCAM, loadModel, setThreads, Tensor } = library;
const pixels = 3 * 224 * 224;
const state = {};

const inputOf = (batch) => Tensor.from(state.input.subarray(0, batch * pixels), [batch, 3, 224, 224]);
const milliseconds = async (work) => {
  const start = performance.now();
  await work();
  return performance.now() - start;
};

// A line of /proc/self/status, in MiB. Unlike getrusage's, this peak holds nothing of the process that started us.
function residentMebibytes(field) {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(line[1]) / 1024;
}

async function eventLoopP99(work) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const ms = await milliseconds(work);
  delay.disable();
  return { ms, p99: delay.percentile(99) / 1e6 };
}

const commands = {
  async prepare({ model, input, category, layer, reshapeTransform, threads, load = {} }) {
    await state.model?.dispose();
    setThreads({ executors: 1, intraOpThreads: threads });
    state.input = readFloats(input);
    state.category = category;
    state.layer = layer;
    state.model = await loadModel(model, load);
    const options = { model: state.model, targetLayers: layer, reshapeTransform };
    state.ours = new GradCAM(options);
    state.plain = new GradCAM({ ...options, optimize: false });
    // pytorch-grad-cam's own default for AblationCAM is 32 and for ScoreCAM 16; ours are what a user gets.
    state.eigencam = new library.EigenCAM(options);
    state.ablationcam = new library.AblationCAM(options);
    state.scorecam = new library.ScoreCAM(options);
    state.explainer = library.Explainer
      ? new library.Explainer({ ...options, method: 'gradcam', maxBatch: 8 })
      : null;
    return { explainer: state.explainer !== null, warmUp: typeof state.model.warmUp === 'function' };
  },

  async warmUp({ batch }) {
    const inputs = inputOf(batch);
    const ms = await milliseconds(() => state.model.warmUp({ inputs, targetLayers: state.layer }));
    inputs.dispose();
    return { ms };
  },

  // Timed from the Float32Array on: making the tensor is part of what a caller pays. So is, of `read`, a result in
  // JavaScript's memory.
  async run({ contestant, batch, classes = 1, compare, read = false }) {
    const targets = [Array.from({ length: classes }, (_, index) => (state.category + index) % 1000)];
    let x;
    let result;
    const ms = await milliseconds(async () => {
      x = inputOf(batch);
      result =
        contestant === 'forward'
          ? await state.model.forward(x)
          : await state[contestant].explain(x, { targets });
      if (read) (contestant === 'forward' ? result : result.heatmaps).toTypedArray();
    });
    x.dispose();
    const answer = { ms, cam: result.timings?.cam, timings: result.timings };
    if (compare) {
      const outputs = contestant === 'forward' ? result : result.outputs;
      if (compare.outputs)
        answer.outputDifference = largestDifference(outputs.toTypedArray(), readFloats(compare.outputs), {
          relative: true,
        });
      if (contestant !== 'forward' && compare.heatmaps)
        answer.difference = largestDifference(result.heatmaps.toTypedArray(), readFloats(compare.heatmaps));
    }
    result.dispose();
    return answer;
  },

  // As many callers as `callers`, each of which asks again when it has its answer, until `images` are explained.
  async concurrent({ callers, images }) {
    const x = inputOf(1);
    let left = images;
    const { ms, p99 } = await eventLoopP99(() =>
      Promise.all(
        Array.from({ length: callers }, async () => {
          while (left-- > 0) (await state.explainer.explain(x, { targets: state.category })).dispose();
        }),
      ),
    );
    x.dispose();
    return { imagesPerSecond: (images / ms) * 1e3, eventLoopP99: p99 };
  },

  // `inFlight` batches at a time.
  async direct({ batch, images, inFlight = 1 }) {
    const x = inputOf(batch);
    let left = images;
    const ms = await milliseconds(() =>
      Promise.all(
        Array.from({ length: inFlight }, async () => {
          while (left > 0) {
            left -= batch;
            (await state.ours.explain(x, { targets: state.category })).dispose();
          }
        }),
      ),
    );
    x.dispose();
    return { imagesPerSecond: (images / ms) * 1e3 };
  },

  // What the event loop's monitor shows of a process that does nothing.
  idle: async () => ({ eventLoopP99: (await eventLoopP99(() => sleep(2000))).p99 }),

  // Resident memory after `first` and after `last` explains of batches of 1 to 16 images of 64 x 64 pixels. Each figure
  // is the largest of the last sixteen calls, so that both have seen every batch size.
  async growth({ first, last }) {
    const inputs = Array.from({ length: 16 }, (_, index) =>
      Tensor.from(state.input.subarray(0, (index + 1) * 3 * 64 * 64), [index + 1, 3, 64, 64]),
    );
    const measured = {};
    let recent = [];
    for (let call = 1; call <= last; call++) {
      const explanation = await state.ours.explain(inputs[(call * 7) % 16], { targets: state.category });
      explanation.dispose();
      if (call === first || call === last) globalThis.gc?.();
      recent = [...recent.slice(-15), residentMebibytes('VmRSS')];
      if (call === first || call === last) measured[call] = Math.max(...recent);
    }
    return { first: measured[first], last: measured[last] };
  },

  threads: ({ executors, intraOpThreads }) => {
    setThreads({ executors, intraOpThreads });
    return {};
  },

  // Medians of the stages, and of what is left of the time from the Float32Array to the heatmaps.
  async profile({ batch, repeats }) {
    const stages = { total: [], rest: [] };
    for (let repeat = 0; repeat < repeats; repeat++) {
      const { ms, timings } = await commands.run({ contestant: 'ours', batch, read: true });
      const inside = Object.values(timings).reduce((sum, time) => sum + time, 0);
      for (const [stage, time] of Object.entries({ total: ms, ...timings, rest: ms - inside }))
        stages[stage] = [...(stages[stage] ?? []), time];
    }
    return Object.fromEntries(Object.entries(stages).map(([stage, times]) => [stage, median(times)]));
  },

  // Memory as the library tells it, and of the whole process.
  memory: async () => {
    globalThis.gc?.();
    return { library: (await library.memory?.()) ?? null, model: state.model.stats().memory };
  },

  doctor: () => library.doctor(),

  peak: () => ({ megabytes: residentMebibytes('VmHWM') }),
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
