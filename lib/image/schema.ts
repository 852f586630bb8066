import { z } from 'zod';
import { mostPixels } from './geometry.js';

// How a picture becomes a model's input, as loadImage(), a sidecar and the command line take it. Every message begins with
// "Expected ", for whoever makes an error of it to put together anew.

const expected = (what: string) => ({ error: `Expected ${what}` });
const oneOf = <const Choices extends readonly [string, ...string[]]>(...choices: Choices) =>
  z.enum(choices, expected(`one of '${choices.join("', '")}'`));

const side = expected('an integer from 1 to 65535');
const padding = expected('three numbers [red, green, blue] from 0 to 255');
const range = expected('two finite numbers [low, high] in this order');
const valueRange = expected('two finite numbers [black, white]');
const mean = expected('an array of finite numbers, one per channel');
const std = expected('an array of positive finite numbers, one per channel');
const count = expected('a positive integer');

/** @internal A side of a picture. */
export const pixels: z.ZodNumber = z.number(side).int(side).min(1, side).max(65_535, side);
const byte = z.number(padding).min(0, padding).max(255, padding);

/**
 * What a sidecar and `loadImage()` have in common. What its parts must be together is {@link checkTogether}'s.
 * @internal
 */
export const preparation = z.strictObject({
  channels: z
    .literal([1, 3], expected('1 or 3'))
    .describe('3 for colour (the default), 1 for gray.')
    .optional(),
  channelOrder: oneOf('rgb', 'bgr').describe('Default rgb.').optional(),
  fit: oneOf('crop', 'stretch', 'contain')
    .describe(
      'crop (the default): resize and cut out the centre; stretch: change the aspect; contain: add bars.',
    )
    .optional(),
  resize: pixels
    .describe(
      'The shorter side before the centre is cut out. Default: with fit crop 256 / 224 of the input, with stretch its own.',
    )
    .optional(),
  paddingColor: z
    .tuple([byte, byte, byte], padding)
    .describe("With fit contain, the bars' red, green and blue, 0 to 255. Default black.")
    .optional(),
  interpolation: oneOf('nearest', 'bilinear', 'bicubic', 'lanczos').describe('Default bilinear.').optional(),
  antialias: z
    .boolean(expected('true or false'))
    .describe('Average when the picture shrinks, as Pillow does (the default); false as OpenCV does.')
    .optional(),
  colorProfile: oneOf('apply', 'ignore')
    .describe(
      "apply (the default): a file's colours become sRGB; ignore: its numbers as they are, as Pillow does.",
    )
    .optional(),
  range: z
    .tuple([z.number(range), z.number(range)], range)
    .refine(([low, high]) => low < high, range)
    .describe(
      'The values of the file that become 0 and 1; what lies beyond is cut. Default: all that the depth holds, 0 to 255 or 65535; of floats 0 to 1.',
    )
    .optional(),
  valueRange: z
    .tuple([z.number(valueRange), z.number(valueRange)], valueRange)
    .describe('What black and white become, before mean and std. Default 0 and 1.')
    .optional(),
  mean: z
    .array(z.number(mean), mean)
    .describe(
      "Of each channel, on the scale of valueRange, subtracted. Default: ImageNet's; with a valueRange 0.",
    )
    .optional(),
  std: z
    .array(z.number(std).positive(std), std)
    .describe("Of each channel, divided by. Default: ImageNet's; with a valueRange 1.")
    .optional(),
});

type Refuse = Pick<z.RefinementCtx, 'addIssue'>;

function refuse(context: Refuse, key: string, what: string): void {
  context.addIssue({ code: 'custom', path: [key], message: `Expected ${what}` });
}

/**
 * @param key - what of the options says the size
 * @internal
 */
export function checkArea(size: { width: number; height: number }, key: string, context: Refuse): void {
  if (size.width * size.height > mostPixels) refuse(context, key, `at most ${mostPixels} pixels in all`);
}

/** @internal */
export function checkTogether(given: z.output<typeof preparation>, context: Refuse): void {
  const { channels = 3, fit = 'crop' } = given;
  for (const key of ['mean', 'std'] as const) {
    if ((given[key]?.length ?? channels) !== channels)
      refuse(context, key, `${channels === 1 ? '1 number' : `${channels} numbers`}, one per channel`);
  }
  if (given.resize !== undefined && fit === 'contain')
    refuse(context, 'resize', `no value with fit '${fit}'`);
  if (given.paddingColor !== undefined && fit !== 'contain')
    refuse(context, 'paddingColor', `no value with fit '${fit}'`);
  if (given.antialias === false && given.interpolation === 'lanczos')
    refuse(context, 'antialias', "true with interpolation 'lanczos'");
  if (given.channelOrder === 'bgr' && channels === 1)
    refuse(context, 'channelOrder', "'rgb' with one channel");
}

/** @internal What `loadImage()` takes, with the size in two numbers. */
export const loadOptions = z
  .object({
    size: z.object({ width: pixels, height: pixels }, expected('a number or { width, height }')).optional(),
    ...preparation.shape,
    limitInputPixels: z.number(count).int(count).positive(count).optional(),
  })
  .superRefine((given, context) => {
    if (given.size) checkArea(given.size, 'size', context);
    checkTogether(given, context);
  });
