import { open } from 'node:fs/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import { UsageError } from '../../errors/usage-error.js';
import { writeWholeFile } from '../../files/whole-file.js';
import { type Device, loadModel } from '../../model/load-model.js';
import type { ModelWarning } from '../../model/model.js';
import { type Scores, scoreKinds } from '../../model/scores.js';
import { draftSidecar, type SidecarDraft } from '../../sidecar/draft.js';
import { type PresetName, presetNames, presets } from '../../sidecar/presets.js';
import { tasks } from '../../sidecar/schema.js';
import { type Sidecar, sidecarPath, type Task } from '../../sidecar/sidecar.js';
import {
  argumentOption,
  collect,
  type LayerFlags,
  type ModelFlags,
  parseInputSize,
  parseReshape,
  readLabels,
  reshapeName,
} from '../options/arguments.js';
import {
  adjustedInput,
  checkSize,
  type PreparationFlags,
  preparationOptions,
} from '../options/preparation.js';
import { wrap } from '../terminal/wrap-text.js';

interface InitSidecarFlags extends ModelFlags, PreparationFlags, LayerFlags {
  readonly preset: PresetName;
  readonly channels?: number;
  readonly labels?: string;
  readonly task?: Task;
  readonly scores?: Scores;
  readonly force?: boolean;
}

export function initSidecarCommand(signal: AbortSignal): Command {
  const command = new Command('init-sidecar')
    .summary('write model.json beside model.pt')
    .description(
      'Runs a model to find out what it takes and gives, and writes its sidecar: model.json beside model.pt.',
    )
    .argument('<model>', 'model file (.pt2 or .pt)')
    .addOption(
      new Option('-p, --preset <name>', 'preprocessing to start from')
        .choices(presetNames)
        .default('imagenet'),
    )
    .option(
      '--size <size>',
      'what the model sees: 224 or 224x320; default: the first that works',
      parseInputSize,
    )
    .option('--channels <count>', '1 or 3; default: what works', parseChannels);
  for (const option of preparationOptions("the preset's")) command.addOption(option);
  return command
    .option('-l, --layer <path>', 'target layer; several are averaged; default: the suggested one', collect)
    .option(
      '--reshape <how>',
      "of a transformer's layer: tokens, tokens:1, tokens:1:14x21 or nhwc",
      parseReshape,
    )
    .option('--labels <file>', 'class names: a JSON array, or one a line')
    .addOption(
      new Option('--task <name>', 'what the model does; default: as its outputs look').choices(tasks),
    )
    .addOption(
      new Option('--scores <kind>', 'what the outputs are; default: where it is certain').choices(scoreKinds),
    )
    .option('--device <device>', "'cpu', 'cuda', 'cuda:N' or 'auto'", 'cpu')
    .addOption(argumentOption())
    .option('--force', 'overwrite a sidecar that is there')
    .addHelpText(
      'after',
      `\nPresets:\n${presetNames.map((name) => `  ${name.padEnd(11)}${presets[name].summary}`).join('\n')}`,
    )
    .action(async (modelPath: string, flags: InitSidecarFlags) => {
      await initSidecar(modelPath, flags, signal);
    });
}

function parseChannels(value: string): number {
  if (value !== '1' && value !== '3') throw new InvalidArgumentError('It must be 1 or 3.');
  return Number(value);
}

async function initSidecar(modelPath: string, flags: InitSidecarFlags, signal: AbortSignal): Promise<void> {
  const path = sidecarPath(modelPath);
  if (path === modelPath) throw new UsageError(`'${modelPath}' is a sidecar; give the model's file.`);
  checkSize(flags.size);
  const labels = flags.labels ? await readLabels(flags.labels) : undefined;
  if (!flags.force) await refuseToOverwrite(path);
  const given = flags.argument ?? {};
  await using model = await loadModel(modelPath, {
    device: flags.device as Device,
    arguments: given,
    signal,
  });
  const draft = await draftSidecar(model, {
    preset: flags.preset,
    size: flags.size,
    channels: flags.channels,
    layers: flags.layer,
    reshape: flags.reshape,
    task: flags.task,
    scores: flags.scores,
    labelCount: labels?.length,
    signal,
  });
  const sidecar = {
    ...draft.sidecar,
    input: adjustedInput(draft.sidecar.input, flags),
    ...(Object.keys(given).length > 0 ? { arguments: given } : {}),
    ...(labels ? { labels } : {}),
  };
  const classes = draft.outputShape?.[1];
  const isPair = classes === 1 && labels?.length === 2;
  if (labels && classes !== undefined && labels.length !== classes && !isPair)
    throw new UsageError(`--labels has ${labels.length} labels, but the model gives ${classes} classes.`);
  await write(path, toJson(sidecar), flags.force ?? false);
  print(path, modelPath, sidecar, draft, flags, model.warnings);
}

/** Indented, with arrays of numbers in one line. */
function toJson(sidecar: Sidecar): string {
  const text = JSON.stringify(sidecar, null, 2);
  return `${text.replace(/\[[\d\s.,e+-]+\]/g, (numbers) => numbers.replace(/\s+/g, ' ').replace('[ ', '[').replace(' ]', ']'))}\n`;
}

async function refuseToOverwrite(path: string): Promise<void> {
  const file = await open(path, 'r').catch(() => null);
  if (file === null) return;
  await file.close();
  throw alreadyThere(path);
}

async function write(path: string, text: string, force: boolean): Promise<void> {
  try {
    // Without --force never over a file, not even one that came while the model ran.
    await writeWholeFile(path, text, { overwrite: force });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw alreadyThere(path);
    throw new UsageError(`Cannot write '${path}': ${(error as Error).message}`);
  }
}

function alreadyThere(path: string): UsageError {
  return new UsageError(`'${path}' is there already; add --force to overwrite it.`);
}

function print(
  path: string,
  modelPath: string,
  { input, layer, reshapeTransform, output, task, scores, labels }: Sidecar,
  { outputShape, layerReason, taskReason, scoresReason, trial }: SidecarDraft,
  { preset, size }: InitSidecarFlags,
  warnings: readonly ModelWarning[],
): void {
  const indent = 11;
  const fit = { crop: `centre of shorter side ${input.resize}`, stretch: 'stretched', contain: 'with bars' };
  const colours = input.channels === 1 ? 'gray' : (input.channelOrder ?? 'rgb');
  const shape = outputShape ? `[${outputShape.join(', ')}]` : 'no tensor';
  const rows: [string, string][] = [
    [
      'input',
      `${input.width} x ${input.height}, ${fit[input.fit ?? 'crop']}, ${input.interpolation}, ${colours}`,
    ],
    ['mean', input.mean?.join(', ') ?? ''],
    ['std', input.std?.join(', ') ?? ''],
    ['layer', layer === undefined ? 'none' : [layer].flat().join(', ')],
    ['', layerReason],
    ...(reshapeTransform ? [['reshape', reshapeName(reshapeTransform)] as [string, string]] : []),
    ['output', output === undefined ? shape : `${[output].flat().join('.')}: ${shape}`],
    ...(task ? [['task', `${task}: ${taskReason}`] as [string, string]] : []),
    ['scores', `${scores ?? 'not said'}${scoresReason ? `: ${scoresReason}` : ''}`],
    ['labels', labels ? String(labels.length) : 'none; add them with --labels'],
    [
      'trial',
      'shape' in trial ? `an explanation of noise gave a map of ${trial.shape.slice(2).join(' x ')}` : 'none',
    ],
    ...('failure' in trial ? [['', trial.failure] as [string, string]] : []),
    ...warnings.map(({ message }) => ['warning', message] as [string, string]),
  ];
  console.log(`wrote ${path}\n`);
  for (const [name, value] of rows) {
    const [first = '', ...more] = wrap(value, 80 - indent);
    console.log(`${`  ${name}`.padEnd(indent)}${first}`.trimEnd());
    for (const line of more) console.log(`${' '.repeat(indent)}${line}`);
  }
  const paragraph = `Check the input: ${size ? 'it' : 'the size is the first that works, the rest'} is the preset '${preset}'. No program can tell from the file whether the model was trained so. What is wrong there changes the predictions without any error. Then look at what the model says of a picture:`;
  const look = task ? `gradcam serve -m ${modelPath}` : `gradcam explain ${modelPath} picture.jpg`;
  console.log(`\n${wrap(paragraph, 80).join('\n')}\n  ${look}`);
}
