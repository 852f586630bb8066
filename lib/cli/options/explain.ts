import { type Command, Option } from 'commander';
import { type MethodName, type MethodOptions, methodNames } from '../../cam/methods/registry.js';
import { UsageError } from '../../errors/usage-error.js';
import { assignments, collect, type LayerFlags, parseCount, parseReshape } from './arguments.js';
import type { PreparationFlags } from './preparation.js';

/** What is explained of each image, and how, as the command line says it. */
export interface ExplainChoiceFlags extends LayerFlags, PreparationFlags {
  readonly method: MethodName;
  readonly option?: MethodOptions;
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
    .addOption(methodOption())
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

/** For what single methods take beside what all do. */
export function methodOption(): Option {
  return new Option(
    '--option <name=value>',
    'of the method: ratioChannelsToAblate=0.1 (docs/methods.md has all); may be repeated',
  ).argParser(assignments('ratioChannelsToAblate=0.1'));
}

/** Refuses classes that are asked for in two ways. */
export function checkClasses(flags: Pick<ExplainChoiceFlags, 'class' | 'top'>): void {
  if (flags.class && flags.top) throw new UsageError('Give --class or --top, not both.');
}
