import type { StageTimings } from '../addon/addon.js';
import { type OutputSelector, selectOutput } from '../model/output.js';
import { type ClassScores, isTwoSided, readScores, type Scores } from '../model/scores.js';
import { Tensor } from '../tensor/tensor.js';
import type { ExplainedLayer, Explanation } from './explanation.js';

/** A class of the model's output for one image. */
export interface ClassReport {
  readonly classIndex: number;
  readonly label: string | null;
  /** As the model gives it, 0 to 1; null where its outputs do not say. */
  readonly probability: number | null;
}

export interface ExplainedClassReport extends ClassReport {
  readonly score: number;
  readonly hasPositiveEvidence: boolean;
  readonly map: MapStatistics;
}

/** What a heatmap amounts to, for programs that look at no pictures. */
export interface MapStatistics {
  /** Mean of the map, 0 to 1. */
  readonly mean: number;
  /** Share of the picture where the map is at least 0.5. */
  readonly hotShare: number;
  /** The hottest place, in the pixels that the model saw. */
  readonly peak: { readonly x: number; readonly y: number };
}

/** What is told of one image; this is also the JSON. */
export type ImageReport =
  | {
      readonly path: string;
      readonly output: string;
      readonly layers: readonly ExplainedLayer[];
      /** What the outputs are, and so how they became probabilities; null where that cannot be told. */
      readonly scores: Scores | null;
      /** Why there are no probabilities, and the cure. */
      readonly note: string | null;
      readonly top: readonly ClassReport[];
      readonly explained: readonly ExplainedClassReport[];
      readonly timings: StageTimings;
    }
  | { readonly path: string; readonly error: { readonly code: string; readonly message: string } };

export type SuccessReport = Extract<ImageReport, { output: string }>;

/** What a sidecar says of a model's outputs. */
export interface OutputMeaning {
  readonly labels?: readonly string[] | undefined;
  readonly output?: OutputSelector | undefined;
  readonly scores?: Scores | undefined;
}

export function describeExplanation(
  path: string,
  output: string,
  explanation: Explanation,
  meaning: OutputMeaning,
): SuccessReport {
  const { layers, timings } = explanation;
  return { path, output, layers, ...describeClasses(explanation, meaning), timings };
}

/** The likeliest classes of the first image, and those that were explained. */
export function describeClasses(
  explanation: Explanation,
  meaning: OutputMeaning,
): Pick<SuccessReport, 'scores' | 'note' | 'top' | 'explained'> {
  const { explained, ...rest } = rankClasses(explanation, meaning);
  return {
    ...rest,
    explained: explained.map((each, index) => ({
      ...each,
      map: statisticsOf(explanation.heatmaps.at(index)),
    })),
  };
}

/**
 * As {@link describeClasses}, without looking at the maps.
 * @throws {GradCamError} `ERR_OUTPUT_SHAPE` where the outputs are not what the sidecar says
 */
export function rankClasses(
  explanation: Explanation,
  meaning: OutputMeaning,
): Pick<SuccessReport, 'scores' | 'note' | 'top'> & { explained: Omit<ExplainedClassReport, 'map'>[] } {
  const { labels } = meaning;
  const read = readFirst(explanation, meaning);
  // Of one output that is no pair of classes, the first of several labels would be a guess.
  const named = read.values.length !== 1 || labels?.length === 1 ? labels : undefined;
  const describe = (classIndex: number): ClassReport => {
    const probability = read.probabilities?.[classIndex] ?? Number.NaN;
    return {
      classIndex,
      label: named?.[classIndex] ?? null,
      probability: Number.isFinite(probability) ? probability : null,
    };
  };
  const ranked = read.values.map((value, classIndex) => ({ value, classIndex }));
  ranked.sort((a, b) => b.value - a.value);
  // Where it cannot be told which of two sides is the likelier, there is no order.
  const top = read.twoSided && read.side === null ? [] : ranked.slice(0, 5);
  return {
    scores: read.scores,
    note: read.note,
    top: top.map(({ classIndex }) => describe(classIndex)),
    explained: explanation.maps.map(({ classIndex, score, hasPositiveEvidence }) => ({
      ...describe(classIndex ?? -1),
      score,
      hasPositiveEvidence,
    })),
  };
}

/** "tiger cat (282)", or "class 282" without labels. */
export function nameOf({ label, classIndex }: ClassReport): string {
  return label === null ? `class ${classIndex}` : `${label} (${classIndex})`;
}

/** What is written below a class's map: "tiger cat (282) 40.3%", or the name alone where there is no probability. */
export function captionOf(report: ClassReport): string {
  const { probability } = report;
  return probability === null ? nameOf(report) : `${nameOf(report)} ${percent(probability)}`;
}

/** "40.3%", or "-" where there is no probability. */
export function percent(probability: number | null): string {
  return probability === null ? '-' : `${(probability * 100).toFixed(1)}%`;
}

const nothing: ClassScores = {
  scores: null,
  values: [],
  probabilities: null,
  twoSided: false,
  side: null,
  note: null,
};

/**
 * What the outputs for the first image say of its classes.
 * @throws {GradCamError} `ERR_OUTPUT_SHAPE` where they are not what the sidecar says
 */
export function readFirst(
  { outputs }: Explanation,
  { labels, output: selector, scores }: OutputMeaning,
): ClassScores {
  const hint = { scores, labelCount: labels?.length };
  const output = selectOutput(outputs, selector);
  if (!(output instanceof Tensor)) return nothing;
  const { shape, dtype } = output;
  if (shape.length !== 2 && !(shape.length < 2 && isTwoSided(1, hint))) return nothing;
  const first = shape.length === 0 ? output : output.at(0);
  const values = Array.from(first.toTypedArray() as ArrayLike<number | bigint>, Number);
  return readScores(values, hint, dtype);
}

export function statisticsOf(map: Tensor): MapStatistics {
  const values = map.toTypedArray() as Float32Array;
  const width = map.shape[1] ?? 1;
  let hottest = 0;
  let hot = 0;
  let sum = 0;
  for (let index = 0; index < values.length; index++) {
    const value = values[index] as number;
    sum += value;
    if (value >= 0.5) hot++;
    if (value > (values[hottest] ?? 0)) hottest = index;
  }
  return {
    mean: sum / values.length,
    hotShare: hot / values.length,
    peak: { x: hottest % width, y: Math.floor(hottest / width) },
  };
}
