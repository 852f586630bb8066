import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { GradCamError } from './errors.js';
import type { LoadImageOptions } from './image/load-image.js';
import { nearestNames } from './nearest-names.js';

const pixels = z.number().int().positive();

const inputSchema = z
  .strictObject({
    width: pixels,
    height: pixels,
    channels: z.union([z.literal(1), z.literal(3)]).optional(),
    resize: pixels.optional(),
    interpolation: z.enum(['nearest', 'bilinear', 'bicubic', 'lanczos']).optional(),
    mean: z.array(z.number()).optional(),
    std: z.array(z.number().positive()).optional(),
  })
  .superRefine((input, context) => {
    const channels = input.channels ?? 3;
    for (const key of ['mean', 'std'] as const) {
      const count = input[key]?.length ?? channels;
      if (count === channels) continue;
      const message = `Expected ${channels} numbers, one per channel, but there are ${count}`;
      context.addIssue({ code: 'custom', path: [key], message });
    }
  });

const schema = z.strictObject({
  name: z.string().optional(),
  description: z.string().optional(),
  license: z.string().optional(),
  source: z.string().optional(),
  input: inputSchema,
  dtype: z.enum(['auto', 'float16', 'bfloat16', 'float32', 'float64']).optional(),
  layer: z.string().optional(),
  output: z.union([z.string(), z.number(), z.array(z.union([z.string(), z.number()]))]).optional(),
  labels: z.array(z.string()).optional(),
});

/** What a model expects and what its outputs mean: `model.json` beside `model.pt`. docs/sidecar.md describes it. */
export type Sidecar = z.infer<typeof schema>;

/** The file that describes a model: the model's name with .json instead of its extension. */
export function sidecarPath(modelPath: string): string {
  return `${modelPath.replace(/\.[^./\\]+$/, '')}.json`;
}

/**
 * Reads a model's sidecar; null where there is none.
 * @throws {GradCamError} `ERR_SIDECAR` for one that is not valid
 */
export async function loadSidecar(modelPath: string): Promise<Sidecar | null> {
  const path = sidecarPath(modelPath);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw sidecarError(path, (cause as Error).message, cause);
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw sidecarError(path, `it is not JSON: ${(cause as Error).message}`, cause);
  }
  const parsed = schema.safeParse(content);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path: where, message }) => `${where.join('.') || 'the file'}: ${message}`,
  );
  throw sidecarError(path, problems.join('; '), parsed.error);
}

function sidecarError(path: string, problem: string, cause: unknown): GradCamError {
  return new GradCamError('ERR_SIDECAR', `The sidecar '${path}' is not valid: ${problem}.`, {
    cause,
    details: { path },
  });
}

/** The options for `loadImage` that a sidecar asks for. */
export function imageOptions({ input }: Sidecar): LoadImageOptions {
  const { width, height, channels, resize, interpolation, mean, std } = input;
  return {
    size: { width, height },
    ...(channels === undefined ? {} : { channels }),
    ...(resize === undefined ? {} : { resize }),
    ...(interpolation === undefined ? {} : { interpolation }),
    ...(mean === undefined ? {} : { mean }),
    ...(std === undefined ? {} : { std }),
  };
}

/**
 * The index of a class from what a person types: the index, the label, one of its names between commas, or the beginning
 * of just one label. Upper and lower case are the same.
 * @throws {GradCamError} `ERR_UNKNOWN_LABEL` with the nearest labels, or those that it could mean
 */
export function findClass(labels: readonly string[] | undefined, query: string): number {
  const wanted = query.trim().toLowerCase();
  if (/^\d+$/.test(wanted)) return Number(wanted);
  if (!labels) {
    throw new GradCamError(
      'ERR_UNKNOWN_LABEL',
      `The class '${query}' is not an index, and there are no labels to look it up in: the model has no sidecar with labels.`,
    );
  }
  const namesOf = labels.map((label) =>
    [label, ...label.split(',')].map((name) => name.trim().toLowerCase()),
  );
  const exact = namesOf.flatMap((names, index) => (names.includes(wanted) ? [index] : []));
  const matches =
    exact.length > 0
      ? exact
      : namesOf.flatMap((names, index) =>
          wanted !== '' && names.some((name) => name.startsWith(wanted)) ? [index] : [],
        );
  const [first] = matches;
  if (first !== undefined && matches.length === 1) return first;
  const candidates =
    matches.length > 1 ? matches.map((index) => `${labels[index]} (${index})`) : nearestNames(wanted, labels);
  const problem = matches.length > 1 ? 'could mean' : 'is not a label of this model. The nearest:';
  throw new GradCamError('ERR_UNKNOWN_LABEL', `'${query}' ${problem} ${candidates.slice(0, 5).join(', ')}.`, {
    details: { suggestions: candidates },
  });
}
