import type { ExplainedLayer, Explanation, StageTimings } from './cam/explanation.js';
import { type ModelOutput, type OutputSelector, selectOutput } from './model-output.js';
import { softmax } from './softmax.js';
import { Tensor } from './tensor.js';

/** A class of the model's output for one image. */
export interface ClassReport {
  readonly classIndex: number;
  readonly label: string | null;
  /** Softmax over the outputs, 0 to 1. */
  readonly probability: number;
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
      readonly top: readonly ClassReport[];
      readonly explained: readonly ExplainedClassReport[];
      readonly timings: StageTimings;
    }
  | { readonly path: string; readonly error: { readonly code: string; readonly message: string } };

export type SuccessReport = Extract<ImageReport, { output: string }>;

export function describeExplanation(
  path: string,
  output: string,
  explanation: Explanation,
  labels: readonly string[] | undefined,
  selector: OutputSelector | undefined,
): SuccessReport {
  const { top, explained } = describeClasses(explanation, labels, selector);
  return { path, output, layers: explanation.layers, top, explained, timings: explanation.timings };
}

/** The likeliest classes of the first image, and those that were explained. */
export function describeClasses(
  explanation: Explanation,
  labels: readonly string[] | undefined,
  selector: OutputSelector | undefined,
): Pick<SuccessReport, 'top' | 'explained'> {
  const { top, explained } = rankClasses(explanation, labels, selector);
  return {
    top,
    explained: explained.map((each, index) => ({
      ...each,
      map: statisticsOf(explanation.heatmaps.at(index)),
    })),
  };
}

/** As {@link describeClasses}, without looking at the maps. */
export function rankClasses(
  explanation: Explanation,
  labels: readonly string[] | undefined,
  selector: OutputSelector | undefined,
): { top: ClassReport[]; explained: Omit<ExplainedClassReport, 'map'>[] } {
  const probabilities = softmaxOfFirst(selectOutput(explanation.outputs, selector));
  const describe = (classIndex: number): ClassReport => ({
    classIndex,
    label: labels?.[classIndex] ?? null,
    probability: probabilities[classIndex] ?? Number.NaN,
  });
  const ranked = probabilities.map((probability, classIndex) => ({ probability, classIndex }));
  ranked.sort((a, b) => b.probability - a.probability);
  return {
    top: ranked.slice(0, 5).map(({ classIndex }) => describe(classIndex)),
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

/** What is written below a class's map: "tiger cat (282) 40.3%". */
export function captionOf(report: ClassReport): string {
  return `${nameOf(report)} ${percent(report.probability)}`;
}

export function percent(probability: number): string {
  return `${(probability * 100).toFixed(1)}%`;
}

function softmaxOfFirst(output: ModelOutput): number[] {
  if (!(output instanceof Tensor) || output.shape.length !== 2) return [];
  return softmax(output.at(0).toTypedArray() as Float32Array);
}

export function statisticsOf(map: Tensor): MapStatistics {
  const values = map.toTypedArray() as Float32Array;
  const width = map.shape[1] ?? 1;
  let hottest = 0;
  let hot = 0;
  let sum = 0;
  for (const [index, value] of values.entries()) {
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
