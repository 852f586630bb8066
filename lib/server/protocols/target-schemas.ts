import { z } from 'zod';
import { type ChosenTargets, type FoundBox, servedTasks } from '../targets/choice.js';
import type { Corners } from '../targets/picture-frame.js';
import type { TargetReport } from '../targets/report.js';
import { classReportSchema, reportClass } from './schemas.js';

// What is explained, as all protocols ask for it and tell it.

export const taskSchema = z
  .enum(servedTasks)
  .describe(
    "What the model does, by its sidecar, and so what can be asked for: 'class' of all, 'box' of detection, 'texts' of a CLIP",
  );

/** More than one picture holds; of a detector's, some have thousands. */
const mostBoxes = 100;

const pixel = z.number().min(-1e6).max(1e6);
const rankSchema = z.number().int().nonnegative().max(1e6);
/** No tuple, which the document would have as prefixItems: many programs that read documents do not know these. */
export const cornersSchema = z
  .array(pixel)
  .length(4)
  .describe('Left, top, right and bottom, in pixels of the picture') as unknown as z.ZodType<
  Corners,
  Corners
>;

export const boxSchema: z.ZodType<number | Corners, number | Corners> = z
  .union([rankSchema, cornersSchema])
  .describe(
    'Of a detector, a box that it finds: by its rank, 0 for the surest, or by its corners, the one that overlaps them most',
  );

const corner = '-?[0-9]{1,6}([.][0-9]{1,20})?([eE]-[0-9]{1,3})?';
const boxText = z
  .string()
  .max(200)
  .regex(
    new RegExp(`^ *([0-9]{1,6}|${corner}( *, *${corner}){3}) *$`),
    'Expected a rank, 0 for the surest box, or left,top,right,bottom',
  );
const boxTextDescription =
  'by its rank, 0 for the surest, or by its corners in the picture, "left,top,right,bottom"';

/** Where a request is made of texts and numbers only: 0, or "10,20,110,220". */
export const boxTextSchema = z
  .union([rankSchema, boxText])
  .transform((given) => (typeof given === 'number' ? given : readBox(given)))
  .describe(`Of a detector, a box that it finds: ${boxTextDescription}`);

export const boxTextsSchema = z
  .union([boxText, z.array(boxText).max(100)])
  .transform((given) => [given].flat().map(readBox))
  .describe(`Instead of class, of a detector: boxes that it finds, each ${boxTextDescription}`);

function readBox(text: string): number | Corners {
  const numbers = text.split(',').map(Number);
  return numbers.length === 1 ? (numbers[0] as number) : (numbers as unknown as Corners);
}

const longestText = 2000;
const mostTexts = 100;
const text = z.string().min(1).max(longestText);
const severalTexts = z.union([text, z.array(text).min(1).max(mostTexts)]);
export const textsSchema = severalTexts
  .transform((given) => [given].flat())
  .describe('Of a CLIP: what to look for; several are explained from one run of the image encoder');

/** Where parameters are texts. What begins as an array is one, whether it can be read or not. */
export const textsTextSchema = z
  .string()
  .min(1)
  .max(50_000)
  .transform((given, context): string[] => {
    try {
      return textsSchema.parse(/^[ \t\r\n]*\[/.test(given) ? JSON.parse(given) : given);
    } catch {
      context.addIssue({
        code: 'custom',
        message: `Expected a text of at most ${longestText} characters, or a JSON array of 1 to ${mostTexts}`,
      });
      return z.NEVER;
    }
  })
  .meta({
    description: 'Of a CLIP: what to look for, a text or a JSON array of texts',
    anyOf: [
      { pattern: '^(?![ \\t\\r\\n]*\\[)', maxLength: longestText },
      {
        contentMediaType: 'application/json',
        contentSchema: {
          type: 'array',
          minItems: 1,
          maxItems: mostTexts,
          items: { type: 'string', minLength: 1, maxLength: longestText },
        },
        format: 'json-texts',
      },
    ],
  });

/** What an explained target is, beside its class. */
export const targetReport = {
  rank: z.number().int().nullable().describe('Of a box: 0 for the surest; null of what is no box'),
  box: cornersSchema.nullable(),
  share: z
    .number()
    .nullable()
    .describe('Of a category: its share of the pixels, 0 to 1; null of what is none'),
  similarity: z
    .number()
    .nullable()
    .describe(
      "Of a text, which `label` holds: the cosine of its embedding with the image's; null of what is none",
    ),
};
export const explainedSchema = classReportSchema.extend({
  ...targetReport,
  score: z.number(),
  has_positive_evidence: z.boolean(),
});

export const foundReport = {
  boxes: z
    .array(classReportSchema.extend({ rank: z.number().int(), box: cornersSchema }))
    .nullable()
    .describe(`What a detector finds, the surest first, ${mostBoxes} at most; null of other models`),
  categories: z
    .array(z.object({ class: z.number().int(), label: z.string().nullable(), share: z.number() }))
    .nullable()
    .describe('What a segmentation model finds, the largest first; null of other models'),
};

export function reportExplained(target: TargetReport['explained'][number]): z.output<typeof explainedSchema> {
  const { box, share, similarity, score, hasPositiveEvidence } = target;
  return {
    ...reportClass(target),
    rank: box?.rank ?? null,
    box: box ? cornersOf(box) : null,
    share,
    similarity,
    score,
    has_positive_evidence: hasPositiveEvidence,
  };
}

type FoundReport = { [key in keyof typeof foundReport]: z.output<(typeof foundReport)[key]> };

export function reportFound({ boxes, categories }: ChosenTargets): FoundReport {
  return {
    boxes:
      boxes
        ?.slice(0, mostBoxes)
        .map((box) => ({ ...reportClass(box), rank: box.rank, box: cornersOf(box) })) ?? null,
    categories:
      categories?.map(({ classIndex, label, share }) => ({ class: classIndex, label, share })) ?? null,
  };
}

function cornersOf({ corners: [x1, y1, x2, y2] }: FoundBox): [number, number, number, number] {
  return [x1, y1, x2, y2];
}
