import type { Explanation } from '../../cam/explanation.js';
import { type ClassReport, captionOf, nameOf, percent, rankClasses } from '../../cam/explanation-report.js';
import { ClipExplanation } from '../../clip/explanation.js';
import type { Scores } from '../../model/scores.js';
import type { Sidecar } from '../../sidecar/sidecar.js';
import type { ChosenTargets, EmbeddedTexts, ExplainedTarget } from './choice.js';

/** What is told of one image's maps. */
export interface TargetReport {
  readonly scores: Scores | null;
  readonly note: string | null;
  /** Of a classifier the likeliest classes. */
  readonly top: readonly ClassReport[];
  /** In the order of the maps. */
  readonly explained: readonly (ExplainedTarget & {
    readonly score: number;
    readonly hasPositiveEvidence: boolean;
  })[];
}

const untold = { scores: null, note: null, top: [] } as const;
const nothingElse = { box: null, share: null, similarity: null } as const;

/** @throws {GradCamError} `ERR_OUTPUT_SHAPE` where the outputs are not what the sidecar says */
export function reportTargets(
  explanation: Explanation,
  { explained, texts }: ChosenTargets,
  sidecar: Sidecar | null,
): TargetReport {
  if (texts) return { ...untold, explained: reportTexts(explanation, texts) };
  if (explained === null) {
    const ranked = rankClasses(explanation, sidecar ?? {});
    return { ...ranked, explained: ranked.explained.map((each) => ({ ...each, ...nothingElse })) };
  }
  return {
    ...untold,
    explained: explanation.maps.map(({ targetIndex, score, hasPositiveEvidence }) => ({
      ...(explained[targetIndex] as ExplainedTarget),
      score,
      hasPositiveEvidence,
    })),
  };
}

/** Each text as if it were a class of these: the model's own answer to which of them it is. */
function reportTexts(explanation: Explanation, texts: EmbeddedTexts): TargetReport['explained'] {
  const { similarities, probabilities } = new ClipExplanation(explanation, texts);
  return explanation.maps.map(({ targetIndex, score, hasPositiveEvidence }) => ({
    ...nothingElse,
    classIndex: targetIndex,
    label: texts.prompts[targetIndex] ?? null,
    probability: probabilities[0]?.[targetIndex] ?? null,
    similarity: similarities[0]?.[targetIndex] ?? null,
    score,
    hasPositiveEvidence,
  }));
}

/** Of each map of texts, for images that are all asked for the same. */
export function similaritiesOf(explanation: Explanation, chosen: readonly ChosenTargets[]): number[] {
  const [texts] = chosen.flatMap((each) => each.texts ?? []);
  return texts ? new ClipExplanation(explanation, texts).similarities.flat() : [];
}

/** What is written below a map: "tiger cat (282) 40.3%", of a category's pixels "car (7) on 12.1%". */
export function targetCaption(target: ExplainedTarget): string {
  if (target.share !== null) return `${nameOf(target)} on ${percent(target.share)}`;
  // The figure first: of a long text the end is cut off.
  if (target.similarity !== null) return `${target.similarity.toFixed(2)} ${target.label}`;
  return captionOf(target);
}
