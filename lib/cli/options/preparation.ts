import { type Command, InvalidArgumentError, Option } from 'commander';
import { UsageError } from '../../errors/usage-error.js';
import type { Fit } from '../../image/geometry.js';
import { findMistake, type LoadImageOptions } from '../../image/options.js';
import { preparation as schema } from '../../image/schema.js';
import type { Model } from '../../model/model.js';
import { adjusted } from '../../sidecar/preparation.js';
import { imageOptions, type Sidecar } from '../../sidecar/sidecar.js';
import { loadDescribed, type ModelFlags, parseInputSize, printWarnings, sidecarOf } from './arguments.js';

/** How pictures are prepared, as the command line says it. */
export interface PreparationFlags {
  readonly size?: number[];
  readonly fit?: Fit;
  readonly resize?: number;
  readonly mean?: number[];
  readonly std?: number[];
  readonly range?: [number, number];
}

/** "0.485,0.456,0.406" */
function parseNumbers(value: string): number[] {
  const numbers = value.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (numbers.some((number) => !Number.isFinite(number)))
    throw new InvalidArgumentError('It must be numbers with commas between them, such as 0.485,0.456,0.406.');
  return numbers;
}

/** Refuses what no picture could be prepared by, before anything is loaded. */
function parserOf(key: 'resize' | 'mean' | 'std' | 'range', read: (value: string) => unknown) {
  return (value: string) => {
    const { data, error } = schema.shape[key].safeParse(read(value));
    if (error) throw new InvalidArgumentError(`${error.issues[0]?.message}.`);
    return data;
  };
}

/** All that say how pictures are prepared, but for their size. */
export function preparationOptions(otherwiseFit = 'what the sidecar says, or crop'): Option[] {
  return [
    new Option('--fit <how>', `how pictures of other shapes fit; default: ${otherwiseFit}`).choices(
      schema.shape.fit.unwrap().options,
    ),
    new Option('--resize <pixels>', 'shorter side before the centre is cut out').argParser(
      parserOf('resize', Number),
    ),
    new Option('--mean <numbers>', 'of each channel, 0 to 1: 0.485,0.456,0.406').argParser(
      parserOf('mean', parseNumbers),
    ),
    new Option('--std <numbers>', 'of each channel: 0.229,0.224,0.225').argParser(
      parserOf('std', parseNumbers),
    ),
    new Option('--range <low,high>', 'values of the file that become 0 and 1: 0,4095').argParser(
      parserOf('range', parseNumbers),
    ),
  ];
}

/** Adds the options that say how images are prepared. */
export function addPreparationOptions(command: Command): Command {
  command
    .optionsGroup('How images are prepared:')
    .option('--size <size>', 'what the model sees: 224 or 224x320 (height x width)', parseInputSize);
  for (const option of preparationOptions()) command.addOption(option);
  return command;
}

/** [height, width], or [height] of a square. */
export function checkSize(size: readonly number[] | undefined): void {
  if (size && size.length > 2) throw new UsageError('--size takes one number, or height x width.');
}

/** The sidecar's preparation, or the ImageNet defaults, with what the command line changes. */
export function preparation(sidecar: Sidecar | null, flags: PreparationFlags): LoadImageOptions {
  checkSize(flags.size);
  const [height, width = height] = flags.size ?? [];
  const options = adjusted(sidecar ? imageOptions(sidecar) : {}, {
    ...changes(flags),
    ...(height !== undefined && width !== undefined ? { size: { width, height } } : {}),
  });
  checkMistakes(options);
  return options;
}

/**
 * The model with its sidecar, if there is one beside it, and how its pictures are prepared; what does not fit is refused
 * before the model is loaded. What must be known of the model is told.
 */
export async function openForPictures(
  path: string,
  flags: ModelFlags & PreparationFlags,
  signal: AbortSignal,
): Promise<{ model: Model; sidecar: Sidecar | null; prepare: LoadImageOptions }> {
  const sidecar = await sidecarOf(path, flags);
  const prepare = preparation(sidecar, flags);
  const model = await loadDescribed(path, sidecar, flags, signal);
  printWarnings(model);
  return { model, sidecar, prepare };
}

/** A sidecar's input with what the command line changes, but for the size. */
export function adjustedInput(input: Sidecar['input'], flags: PreparationFlags): Sidecar['input'] {
  const { fit, ...rest } = adjusted(input, changes(flags));
  const changed = { ...rest, ...(fit === 'crop' ? {} : { fit }) };
  checkMistakes(imageOptions({ input: changed }));
  return changed;
}

function changes({ fit, resize, mean, std, range }: PreparationFlags): LoadImageOptions {
  return {
    ...(fit === undefined ? {} : { fit }),
    ...(resize === undefined ? {} : { resize }),
    ...(mean === undefined ? {} : { mean }),
    ...(std === undefined ? {} : { std }),
    ...(range === undefined ? {} : { range }),
  };
}

/** What options are only together: a sidecar is right in itself, and so is each flag. */
function checkMistakes(options: LoadImageOptions): void {
  const mistake = findMistake(options);
  if (mistake) throw new UsageError(`--${mistake.name}: expected ${mistake.expected}.`);
}
