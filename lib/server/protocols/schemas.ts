import { z } from 'zod';
import type { ExplainedLayer } from '../../cam/explanation.js';
import type { ClassReport } from '../../cam/explanation-report.js';
import { type MethodName, methodNames } from '../../cam/methods/registry.js';
import { checkArguments, type ModelArguments } from '../../model/arguments.js';
import { scoreKinds } from '../../model/scores.js';
import { modelName } from '../configuration/options.js';
import { reshapeNames } from '../models/served-model.js';
import { isPackedNumbers, type PackedNumbers } from '../workers/packed-numbers.js';

// Parts that the protocols share. A class, a layer and a method are asked for by the same names everywhere.

/** Long texts are refused before anything looks for the nearest label or layer. */
const text: z.ZodString = z.string().min(1).max(200);

export const methodSchema: z.ZodType<MethodName, MethodName> = z
  .enum(methodNames as [MethodName, ...MethodName[]])
  .describe("How; default: the model's, else gradcam");

export const classSchema = z
  .union([z.number().int().nonnegative(), text])
  .describe('Index or label of a class; default: the one that the model predicts');

export const layerSchema: z.ZodString = text.describe(
  "A layer's path, with [0] or [name] behind it for one of several tensors that it gives; several are averaged; default: the model's, else the suggested one",
);

export const reshapeSchema = z
  .enum(reshapeNames)
  .describe(
    "How a transformer's layer becomes a map; default: what the sidecar says, or the suggested layer needs",
  );

/** For the document: objects whose names nobody lists may not have all names. */
export const freeNames = { propertyNames: { $ref: '#/components/schemas/FreeName' } };

const argumentsDescription =
  "For the parameters of the model's forward that are no tensors, by name; default: the model's";

export const argumentsSchema: z.ZodType<ModelArguments, ModelArguments> = z
  .custom<ModelArguments>()
  .superRefine(refuseOddArguments)
  .meta({
    type: 'object',
    description: argumentsDescription,
    ...freeNames,
    additionalProperties: { $ref: '#/components/schemas/Argument' },
  });

/** Where a request is made of texts only. */
export const argumentsTextSchema = z
  .string()
  .max(100_000)
  .transform((json, context): ModelArguments => {
    try {
      const given = JSON.parse(json) as ModelArguments;
      refuseOddArguments(given, context);
      return given;
    } catch (error) {
      context.addIssue({ code: 'custom', message: `It is not JSON: ${(error as Error).message}` });
      return z.NEVER;
    }
  })
  .meta({
    description: `${argumentsDescription}. A JSON object`,
    contentMediaType: 'application/json',
    format: 'json-object',
  });

function refuseOddArguments(given: unknown, context: z.RefinementCtx): void {
  try {
    checkArguments(given);
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message });
  }
}

const milliseconds = (number: z.ZodNumber | z.ZodCoercedNumber) =>
  number
    .int()
    .positive()
    .max(86_400_000)
    .describe('Milliseconds from the arrival of the request, after which it is given up with 504');
export const deadlineSchema = milliseconds(z.number());
/** Where a request is made of texts only. */
export const deadlineTextSchema = milliseconds(z.coerce.number());

export const errorSchema = z
  .object({
    error: z.string().describe('What happened and what to do'),
    code: z.string().describe('Stable; see docs/errors.md'),
    request_id: z.string(),
  })
  .meta({ id: 'Error' });

export const modelParams = z.object({ model: modelName });
export const versionedParams = z.object({ model: modelName, version: z.string().max(20) });

/** One pixel in base64, for the document's examples. */
export const examplePicture =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNocFAAAAIkAOGVpLGLAAAAAElFTkSuQmCC';

/** Of a body, for the document. */
export const example = (value: object) => ({ 'x-examples': { one: { value } } });

/** Nested arrays as the document has them; packed, and their inside checked, before the body is looked at. */
export const nestedNumbers: z.ZodCustom<PackedNumbers, PackedNumbers> = z
  .custom<PackedNumbers>(isPackedNumbers, 'Expected nested numbers')
  .meta({ type: 'array', minItems: 1, items: { $ref: '#/components/schemas/Numbers' } });

/** Large numeric data: described, but not walked through by the validator. */
export function unchecked(description: string, jsonSchema: Record<string, unknown> = {}): z.ZodUnknown {
  return z.unknown().meta({ description, ...jsonSchema });
}

export const timingsSchema = z
  .object({
    decode: z.number(),
    queue: z.number(),
    plan: z.number(),
    forward: z.number(),
    backward: z.number(),
    cam: z.number(),
    total: z.number(),
  })
  .describe('Milliseconds of each stage; total is from the arrival of the request');

export const layerReportSchema = z.object({
  path: z.string(),
  call: z.number().int(),
  output: z
    .array(z.union([z.string(), z.number().int()]))
    .describe('Of a layer that gives several tensors, the way to the one that is explained'),
  shape: z.array(z.number().int()),
  reason: z.string().nullable(),
});

export function reportLayer({ output, shape, ...layer }: ExplainedLayer): z.output<typeof layerReportSchema> {
  return { ...layer, output: [...output], shape: [...shape] };
}

export const classReportSchema = z.object({
  class: z.number().int(),
  label: z.string().nullable(),
  probability: z
    .number()
    .nullable()
    .describe('As the model gives it, by its sidecar or its values; null where the outputs do not say'),
});

export function reportClass({
  classIndex,
  label,
  probability,
}: ClassReport): z.output<typeof classReportSchema> {
  return { class: classIndex, label, probability };
}

/** What of a model's outputs became the probabilities of an answer. */
export const scoresReport = {
  scores: z.enum(scoreKinds).nullable().describe('What the outputs are; null where that cannot be told'),
  note: z.string().nullable().describe('Why there are no probabilities, and the cure'),
};
