import type { Call } from '../../calls/call.js';
import { invalidRequest } from '../../http/errors.js';
import { checkWish, type TargetWish } from '../../targets/choice.js';
import type { Corners } from '../../targets/picture-frame.js';
import { textsSchema } from '../target-schemas.js';
import type { InferBody } from './schemas.js';
import type { ReadInput } from './tensors.js';

// What is explained of each image: by parameters, for all of them, or by an input of the target's name, which is none of the
// model's.

const targetInputs = ['class', 'box', 'texts'];

export function isTargetInput(name: string): boolean {
  return targetInputs.includes(name);
}

/** @throws {GradCamError} `ERR_INVALID_REQUEST` */
export function readWishes(
  { model }: Call,
  asked: NonNullable<InferBody['parameters']>,
  inputs: readonly ReadInput[],
  images: number,
): TargetWish[] {
  const forAll: TargetWish = {
    classes: asked.class === undefined ? undefined : [asked.class],
    boxes: asked.box === undefined ? undefined : [asked.box],
    top: asked.top,
    texts: asked.texts,
  };
  const twice = inputs.find(({ name }, index) => inputs.findIndex((other) => other.name === name) < index);
  if (twice) throw invalidRequest(`There are two inputs ${twice.name}.`);
  for (const name of targetInputs)
    if (asked[name] !== undefined && inputs.some((input) => input.name === name))
      throw invalidRequest(`Give ${name} as a parameter or as an input, not both.`);
  const classes = inputs.find(({ name }) => name === 'class');
  const boxes = inputs.find(({ name }) => name === 'box');
  const classesOf = classes ? readClasses(classes, images) : undefined;
  const boxesOf = boxes ? readBoxes(boxes, images) : undefined;
  const texts = inputs.find(({ name }) => name === 'texts');
  const textsOfAll = texts ? readTexts(texts) : undefined;
  return Array.from({ length: images }, (_, index) => {
    const wish = {
      ...forAll,
      ...(classesOf ? { classes: classesOf[index] } : {}),
      ...(textsOfAll ? { texts: textsOfAll } : {}),
      ...(boxesOf ? { boxes: boxesOf[index] } : {}),
    };
    checkWish(wish, model.task);
    return wish;
  });
}

function readClasses(input: ReadInput, images: number): number[][] {
  const { shape } = input;
  if ('elements' in input || shape[0] !== images || shape.length > 2 || input.values.length < images)
    throw invalidRequest(`The input class needs numbers of shape [${images}] or [${images}, classes].`);
  return rowsOf(input.values, images);
}

function readBoxes(input: ReadInput, images: number): Corners[][] {
  const { shape } = input;
  if (
    'elements' in input ||
    shape[0] !== images ||
    shape.length > 3 ||
    shape.length < 2 ||
    shape.at(-1) !== 4
  )
    throw invalidRequest(
      `The input box needs numbers of shape [${images}, 4] or [${images}, boxes, 4]: left, top, right and bottom.`,
    );
  return rowsOf(input.values, images).map((row) => {
    if (!row.every(Number.isFinite))
      throw invalidRequest('The input box holds something that is not finite.');
    return Array.from({ length: row.length / 4 }, (_, index) => row.slice(4 * index, 4 * index + 4) as never);
  });
}

function readTexts(input: ReadInput): string[] {
  if (!('elements' in input) || input.shape.length !== 1)
    throw invalidRequest('The input texts needs texts, BYTES of shape [texts].');
  const parsed = textsSchema.safeParse(input.elements.map((element) => element.toString('utf8')));
  if (parsed.success) return parsed.data;
  throw invalidRequest('The input texts needs 1 to 100 texts of 1 to 2000 characters.');
}

function rowsOf(values: ArrayLike<number | bigint>, images: number): number[][] {
  const length = values.length / images;
  const numbers = Array.from(values, Number);
  return Array.from({ length: images }, (_, index) => numbers.slice(index * length, (index + 1) * length));
}
