import { type Command, Option } from 'commander';
import { type MethodName, methodNames } from '../../cam/methods/registry.js';
import { UsageError } from '../../errors/usage-error.js';
import {
  collect,
  fitOption,
  type LayerFlags,
  type PreparationFlags,
  parseCount,
  parseInputSize,
  parseNumbers,
  parseRange,
  parseReshape,
} from './arguments.js';

/** What is explained of each image, and how, as the command line says it. */
export interface ExplainChoiceFlags extends LayerFlags, PreparationFlags {
  readonly method: MethodName;
  readonly augSmooth?: boolean;
  readonly eigenSmooth?: boolean;
  readonly class?: string[];
  readonly top?: number;
  readonly labels?: string;
}

/** Adds the options that say what is explained of each image. */
export function addExplainOptions(command: Command): Command {
  return command
    .optionsGroup('What is explained:')
    .addOption(new Option('-m, --method <name>', 'how').choices(methodNames).default('gradcam'))
    .option('--aug-smooth', 'average over six changed copies of the image: smoother, six times the cost')
    .option('--eigen-smooth', 'keep the main pattern only: less noise')
    .option(
      '-l, --layer <path>',
      'target layer; with [0] or [name] behind it one of several tensors that it gives; several layers are averaged; default: the suggested one',
      collect,
    )
    .option(
      '--reshape <how>',
      "of a transformer's layer: tokens, tokens:1, tokens:1:14x21 or nhwc",
      parseReshape,
    )
    .option('-c, --class <index-or-label>', 'class to explain; several are drawn side by side', collect)
    .option('-t, --top <count>', "the model's most likely classes, side by side", parseCount)
    .option('--labels <file>', 'class names: a JSON array, or one a line');
}

/** Adds the options that say how images are prepared. */
export function addPreparationOptions(command: Command): Command {
  return command
    .optionsGroup('How images are prepared:')
    .option('--size <size>', 'what the model sees: 224 or 224x320 (height x width)', parseInputSize)
    .addOption(fitOption())
    .option('--resize <pixels>', 'shorter side before the centre is cut out', parseCount)
    .option('--mean <numbers>', 'of each channel, 0 to 1: 0.485,0.456,0.406', parseNumbers)
    .option('--std <numbers>', 'of each channel: 0.229,0.224,0.225', parseNumbers)
    .option('--range <low,high>', 'values of the file that become 0 and 1: 0,4095', parseRange);
}

/** Refuses classes that are asked for in two ways. */
export function checkClasses(flags: Pick<ExplainChoiceFlags, 'class' | 'top'>): void {
  if (flags.class && flags.top) throw new UsageError('Give --class or --top, not both.');
}
