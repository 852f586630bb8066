import type { Explanation } from '../../cam/explanation.js';
import { type ClassReport, captionOf, nameOf, percent, rankClasses } from '../../cam/explanation-report.js';
import type { Scores } from '../../model/scores.js';
import type { Sidecar } from '../../sidecar/sidecar.js';
import type { ChosenTargets, ExplainedTarget } from './choice.js';

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

/** @throws {GradCamError} `ERR_OUTPUT_SHAPE` where the outputs are not what the sidecar says */
export function reportTargets(
  explanation: Explanation,
  { explained }: ChosenTargets,
  sidecar: Sidecar | null,
): TargetReport {
  if (explained === null) {
    const ranked = rankClasses(explanation, sidecar ?? {});
    return { ...ranked, explained: ranked.explained.map((each) => ({ ...each, box: null, share: null })) };
  }
  return {
    scores: null,
    note: null,
    top: [],
    explained: explanation.maps.map(({ targetIndex, score, hasPositiveEvidence }) => ({
      ...(explained[targetIndex] as ExplainedTarget),
      score,
      hasPositiveEvidence,
    })),
  };
}

/** What is written below a map: "tiger cat (282) 40.3%", of a category's pixels "car (7) on 12.1%". */
export function targetCaption(target: ExplainedTarget): string {
  return target.share === null ? captionOf(target) : `${nameOf(target)} on ${percent(target.share)}`;
}
