// The benchmark on a GPU: bounded by time, the most important cells first, results written after each.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { inspectPython } from '../machine.mjs';
import { startSession } from '../session.mjs';
import { measureCell } from './cell.mjs';
import { measureCallers, measureMemory, measureMethod, measureProfile } from './extras.mjs';
import { describeCell, markdown } from './report.mjs';
import { settingNames, settingOf } from './settings.mjs';
import { Sides } from './sides.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const all = JSON.parse(readFileSync(join(here, '..', 'models.json'), 'utf8'));
const defaultModels = [
  'resnet50',
  'vit_b_16',
  'mobilenet_v3_large',
  'efficientnet_b0',
  'convnext_tiny',
  'densenet121',
];
const partNames = ['cells', 'profile', 'callers', 'memory', 'methods'];

function count(text) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('It has to be 1, 2, 3, ...');
  return value;
}
const counts = (text) => text.split(',').map(count);
const listOf = (known) => (text) => {
  const names = text.split(',');
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new InvalidArgumentError(`There is no ${unknown} in ${known.join(', ')}.`);
  return names;
};

const options = new Command('cuda')
  .description('Measures explains against PyTorch on a GPU, turn by turn, the most important cells first.')
  .requiredOption('--python <path>', 'Python with torch and torchvision; peers that it lacks are left out')
  .requiredOption('--out <folder>', 'where results.json and results.md go')
  .addOption(new Option('--device <device>', 'of both sides').choices(['cuda', 'cpu']).default('cuda'))
  .option('--models <names>', 'in this order, by comma', listOf(all.map(({ name }) => name)), defaultModels)
  .option('--batches <sizes>', 'batch sizes', counts, [1, 8, 32])
  .option('--settings <names>', settingNames.join(', '), listOf(settingNames), settingNames)
  .option('--cudnn-benchmark', "also with cuDNN's benchmark mode, in processes of their own")
  .option('--parts <names>', partNames.join(', '), listOf(partNames), [
    'cells',
    'callers',
    'memory',
    'methods',
  ])
  .option('--profile', 'also where the time goes, as with the part of that name')
  .option('--seconds <count>', 'for the whole run', count, 150)
  .option('--rounds <count>', 'rounds of a cell', count, 10)
  .option('--peer-rounds <count>', 'rounds in which torch-cam and Captum take part', count, 5)
  .option('--warmups <count>', 'calls before the first round', count, 5)
  .option('--threads <count>', 'threads of each side', count, Math.max(1, os.availableParallelism() >> 1))
  .option('--caller-images <count>', 'images that eight callers ask for', count, 512)
  .option('--method-seconds <count>', 'what one call of ScoreCAM or AblationCAM may take', count, 40)
  .option('--profile-repeats <count>', 'explains whose stages are looked at', count, 20)
  .parse()
  .opts();

const { folder, progress } = startSession();
const started = performance.now();
const clock = { left: () => started + options.seconds * 1000 - performance.now() };
const parts = new Set([...options.parts, ...(options.profile ? ['profile'] : [])]);
const context = { options, folder, clock };
// cuDNN keeps the algorithm that it took for a shape, so a process that ran without its benchmark mode has no use for it.
const sidesOf = { false: new Sides(context), true: new Sides(context) };
const models = options.models.map((wanted) => all.find(({ name }) => name === wanted));
const resnet50 = all.find(({ name }) => name === 'resnet50');

const results = {
  machine: await describeMachine(),
  cells: [],
  profiles: [],
  callers: null,
  memory: null,
  methods: null,
  notMeasured: [],
};
mkdirSync(options.out, { recursive: true });
function save() {
  writeFileSync(join(options.out, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(join(options.out, 'results.md'), markdown(results));
}

for (const { name, measure } of tasks()) {
  if (clock.left() <= 0) {
    results.notMeasured.push(name);
    continue;
  }
  try {
    await measure();
  } catch (error) {
    progress(`${name} failed: ${error.message}`);
    results.notMeasured.push(`${name} (${error.message})`);
  }
  save();
}
results.seconds = Math.round((performance.now() - started) / 1000);
save();
await Promise.all([sidesOf.false.end(), sidesOf.true.end()]);
console.log(markdown(results));
console.error(`Written to ${options.out}`);

function tasks() {
  const extras = {
    profile: options.settings.flatMap((name) =>
      options.batches.map((batch) => profileTask(settingOf(name), batch)),
    ),
    callers: [extraTask('callers', measureCallers)],
    memory: [extraTask('memory', measureMemory)],
    methods: ['eigencam', 'scorecam', 'ablationcam'].map(methodTask),
  };
  const listed = [];
  if (parts.has('cells') && models[0]) listed.push(...cellTasks(models[0], false));
  for (const [part, own] of Object.entries(extras)) if (parts.has(part)) listed.push(...own);
  if (!parts.has('cells')) return listed;
  if (options.cudnnBenchmark && models[0]) listed.push(...cellTasks(models[0], true));
  for (const model of models.slice(1)) listed.push(...cellTasks(model, false));
  if (options.cudnnBenchmark) for (const model of models.slice(1)) listed.push(...cellTasks(model, true));
  return listed;
}

function cellTasks(model, benchmark) {
  return options.settings.flatMap((settingName) => {
    const setting = settingOf(settingName, benchmark);
    return options.batches.map((batch) => ({
      name: `${model.name} B=${batch} ${setting.name}`,
      measure: async () => {
        const cell = { model: model.name, layer: model.layer, batch, setting: setting.name };
        const sides = sidesOf[benchmark];
        try {
          Object.assign(cell, await measureCell({ sides, model, setting, batch, ...context }));
        } catch (error) {
          cell.error = error.message;
        }
        results.cells.push(cell);
        progress(describeCell(cell));
      },
    }));
  });
}

function extraTask(name, measure) {
  return {
    name,
    measure: async () => {
      const setting = settingOf('float32');
      results[name] = await measure({ sides: sidesOf.false, model: resnet50, setting, ...context });
      progress(`${name}: ${results[name].error ?? 'measured'}`);
    },
  };
}

function methodTask(method) {
  return {
    name: method,
    measure: async () => {
      const setting = settingOf('float32');
      const sides = sidesOf.false;
      const result = await measureMethod(method, { sides, model: resnet50, setting, ...context });
      results.methods = { ...results.methods, [method]: result };
      progress(`${method}: ${JSON.stringify(result)}`);
    },
  };
}

function profileTask(setting, batch) {
  return {
    name: `profile B=${batch} ${setting.name}`,
    measure: async () => {
      const sides = sidesOf.false;
      const result = await measureProfile({ sides, model: resnet50, setting, batch, ...context });
      results.profiles.push(result);
      progress(`profile B=${batch} ${setting.name}: ${JSON.stringify(result.ours ?? result.failure)}`);
    },
  };
}

async function describeMachine() {
  const { python, packages, missing } = inspectPython(options.python);
  const machine = {
    date: new Date().toISOString(),
    processor: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    node: process.version,
    python,
    packages,
    missing,
    threads: options.threads,
    seconds: options.seconds,
  };
  const ask = async (kind, question, name) => {
    try {
      machine[name] = await sidesOf.false.ask(kind, question);
    } catch (error) {
      machine[`${name}Failure`] = error.message;
    }
  };
  await Promise.all([ask('python', 'describe_device', 'device'), ask('node', 'doctor', 'doctor')]);
  return machine;
}
