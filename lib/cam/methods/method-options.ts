import { z } from 'zod';
import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';

// What each method takes beside the options that all take, as its constructor, the command line, the server and batches
// check it. Every message begins with "Expected ", for whoever makes an error of it to put together anew.

const expected = (what: string) => ({ error: `Expected ${what}` });

function integer(least: number, most: number, what: string): z.ZodNumber {
  const error = expected(what);
  return z.number(error).int(error).min(least, error).max(most, error);
}

function number(what: string): z.ZodNumber {
  return z.number(expected(what));
}

function oneOf<Names extends object>(names: Names) {
  const keys = Object.keys(names) as [keyof Names & string];
  return z.enum(keys, expected(`one of '${keys.join("', '")}'`));
}

/** The methods that FinerCAM may explain a difference by, as the native module names them. */
export const finerBases = {
  gradcam: 'GradCAM',
  layercam: 'LayerCAM',
  'gradcam++': 'GradCAMPlusPlus',
  hirescam: 'HiResCAM',
} as const;

/** The methods whose maps RefineCAM may multiply, as the native module names them. */
export const refineBases = {
  gradcam: 'GradCAM',
  'gradcam++': 'GradCAMPlusPlus',
  hirescam: 'HiResCAM',
  xgradcam: 'XGradCAM',
  layercam: 'LayerCAM',
} as const;

const batchSize = (what: string) =>
  integer(1, 65_536, 'an integer from 1 to 65536').describe(what).optional();
const seed = (what: string) =>
  integer(0, Number.MAX_SAFE_INTEGER, 'an integer of at least 0').describe(what).optional();
const ranks = expected('an array of ranks, each an integer of at least 0');
const deviation = 'a number of at least 0';
const share = expected('a number above 0, up to 1');
const none = z.strictObject({});

/**
 * The options of each method by its name, but for those that are tensors and cannot be told in JSON.
 * @internal
 */
export const methodOptions = {
  gradcam: none,
  hirescam: none,
  gradcamelementwise: none,
  'gradcam++': none,
  xgradcam: none,
  layercam: none,
  eigencam: none,
  eigengradcam: none,
  segeigencam: none,
  kpcacam: none,
  fem: z.strictObject({
    k: number('a finite number')
      .describe('How many standard deviations above its mean a channel counts as strong. Default 2.')
      .optional(),
  }),
  fullgrad: none,
  'smoothgradcam++': z.strictObject({
    samples: integer(1, 10_000, 'an integer from 1 to 10000')
      .describe('Noisy copies of the input. Default 4.')
      .optional(),
    std: number(deviation)
      .min(0, expected(deviation))
      .describe('Standard deviation of the noise, in units of the normalised input. Default 0.3.')
      .optional(),
    seed: seed('Equal seeds give equal noise. Default 0.'),
  }),
  scorecam: z.strictObject({
    batchSize: batchSize('Masked copies of an image in one run of the model. Default 16.'),
  }),
  ablationcam: z.strictObject({
    batchSize: batchSize("Channels that are left out in one run of the model's tail. Default 64."),
    ratioChannelsToAblate: z
      .number(share)
      .gt(0, share)
      .max(1, share)
      .describe('Share of the channels that is tried. Default 1.')
      .optional(),
  }),
  shapleycam: none,
  finercam: z.strictObject({
    base: oneOf(finerBases).describe('The method that explains the difference. Default gradcam.').optional(),
    alpha: number('a finite number')
      .describe('How strongly the compared classes count. Default 1.')
      .optional(),
    comparisonCategories: z
      .array(z.number(ranks).int(ranks).min(0, ranks), ranks)
      .min(1, ranks)
      .describe('Which classes to compare with, as ranks of nearness; 1 is the nearest. Default 1, 2 and 3.')
      .optional(),
  }),
  refinecam: z.strictObject({
    base: oneOf(refineBases).describe('The method whose maps are refined. Default gradcam++.').optional(),
  }),
  legrad: none,
  cam: z.strictObject({
    linear: z
      .string(expected("a linear layer's path"))
      .describe('Path of the linear layer that follows the pooling. Default: found.')
      .optional(),
  }),
  randomcam: z.strictObject({ seed: seed('Equal seeds give equal maps. Default 0.') }),
};

/**
 * The options of a method, unknown names and wrong values refused.
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @internal
 */
export function readMethodOptions<T extends object>(method: keyof typeof methodOptions, options: unknown): T {
  const schema: z.ZodObject = methodOptions[method];
  const given = readOptions<T>(`the options of '${method}'`, options, Object.keys(schema.shape) as never[]);
  const issue = schema.safeParse(given).error?.issues[0];
  if (!issue) return given;
  const name = String(issue.path[0]);
  const actual = (given as Record<string, unknown>)[name];
  const what = issue.message.replace(/^Expected /, '');
  const isNumber = issue.code === 'invalid_type' && ['number', 'int'].includes(issue.expected);
  const found = issue.path.reduce<unknown>((value, step) => Object(value)[step], given);
  if (
    issue.code === 'invalid_value' ||
    (issue.code === 'invalid_type' && !(isNumber && typeof found === 'number'))
  )
    throw invalidArgumentType(name, what, actual);
  throw argumentOutOfRange(name, what, Array.isArray(actual) ? `[${actual.join(', ')}]` : actual);
}
