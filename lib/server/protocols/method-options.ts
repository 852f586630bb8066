import { z } from 'zod';
import { methodOptions } from '../../cam/methods/method-options.js';
import { checkMethodChoice, type MethodName, type MethodOptions } from '../../cam/methods/registry.js';

// What a method takes beside what all do, as the protocols ask for it and tell it.

/** Copies of an image in one run of the model: memory is not a client's to give out. */
const largestBatch = 256;
const mostSamples = 256;

const description =
  'The method\'s own options, by name: of ablationcam {"ratioChannelsToAblate": 0.1}; GET /explain/NAME lists them';

const longestName = 100;
export const optionsSchema = z
  .record(z.string().max(longestName), z.unknown())
  .superRefine(refuseLarge)
  .meta({
    description,
    propertyNames: { type: 'string', maxLength: longestName, not: { const: '__proto__' } },
  });

/** Where a request is made of texts only. */
export const optionsTextSchema = z
  .string()
  .max(10_000)
  .transform((text, context): Record<string, unknown> => {
    try {
      const parsed = optionsSchema.safeParse(JSON.parse(text));
      if (parsed.success) return parsed.data;
      context.addIssue({ code: 'custom', message: parsed.error.issues[0]?.message ?? 'They are not valid' });
    } catch (error) {
      context.addIssue({ code: 'custom', message: `It is not JSON: ${(error as Error).message}` });
    }
    return z.NEVER;
  })
  .meta({
    description: `${description}. A JSON object`,
    contentMediaType: 'application/json',
    contentSchema: { type: 'object', propertyNames: { maxLength: longestName } },
    format: 'json-options',
  });

function refuseLarge(options: Readonly<Record<string, unknown>>, context: z.RefinementCtx): void {
  for (const [name, most] of [
    ['batchSize', largestBatch],
    ['samples', mostSamples],
  ] as const)
    if (Number(options[name]) > most)
      context.addIssue({ code: 'custom', message: `${name} may be at most ${most} here` });
}

/**
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 */
export function readMethodChoice(
  method: MethodName,
  options: Record<string, unknown> | undefined,
): { method: MethodName; options: MethodOptions } {
  return checkMethodChoice({ method, options: options as MethodOptions | undefined });
}

export const methodOptionsReport = z
  .record(z.string(), z.record(z.string(), z.unknown()))
  .describe('Of each method that has options of its own, a JSON schema of each of them');

/** Of each method that has some, its options. */
export function reportMethodOptions(): z.output<typeof methodOptionsReport> {
  const described = Object.entries(methodOptions).map(([method, schema]) => {
    const { properties = {} } = z.toJSONSchema(schema as z.ZodObject);
    return [method, properties] as const;
  });
  return Object.fromEntries(described.filter(([, options]) => Object.keys(options).length > 0));
}
