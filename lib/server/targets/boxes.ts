import { GradCamError } from '../../errors/errors.js';
import { type ModelOutput, selectOutput } from '../../model/output.js';
import { findClass } from '../../sidecar/labels.js';
import type { Sidecar } from '../../sidecar/sidecar.js';
import { FasterRCNNBoxScoreTarget } from '../../targets/dense-targets.js';
import { type DetectedBox, detectedBoxes, pathToDetections } from '../../targets/detections.js';
import type { AskedImage, ChosenTargets, FoundBox } from './choice.js';
import type { Corners, PictureFrame } from './picture-frame.js';

/** As `FasterRCNNBoxScoreTarget` has it: with less, no box is the wanted one. */
const leastOverlap = 0.5;

/**
 * Boxes of a detector. Where none is asked for, the one that the model is surest of.
 * @param output - for the images; of the explained part there is a dictionary of boxes, labels and scores for each
 * @throws {GradCamError} `ERR_NO_DETECTION`, `ERR_OUTPUT_SHAPE`, `ERR_UNKNOWN_LABEL`
 */
export function chooseBoxes(
  output: ModelOutput,
  images: readonly AskedImage[],
  sidecar: Sidecar | null,
): ChosenTargets[] {
  const explained = selectOutput(output, sidecar?.output);
  if (
    !Array.isArray(explained) ||
    explained.length !== images.length ||
    pathToDetections(explained)?.length !== 0
  ) {
    const path = pathToDetections(output);
    const cure = path
      ? ` Its sidecar needs \`output\`: ${JSON.stringify(path.length === 1 ? path[0] : path)}.`
      : '';
    throw new GradCamError(
      'ERR_OUTPUT_SHAPE',
      `The task of this model is detection, but its output is no list of boxes, labels and scores for each image.${cure}`,
    );
  }
  return images.map((image, index) =>
    chooseOfImage(detectedBoxes(explained[index], { minScore: 0 }), image, sidecar?.labels),
  );
}

function chooseOfImage(
  detected: readonly DetectedBox[],
  { wish, frame }: AskedImage,
  labels: readonly string[] | undefined,
): ChosenTargets {
  const found = detected.map(
    ({ label, score, box }, rank): FoundBox => ({
      rank,
      classIndex: label,
      label: labels?.[label] ?? null,
      probability: score,
      corners: frame.toPicture(box),
    }),
  );
  if (found.length === 0) throw noDetection('The model finds nothing in this picture');
  const byRank = (rank: number) => {
    if (rank < found.length) return rank;
    throw noDetection(
      `The model finds ${found.length} boxes in this picture, 0 to ${found.length - 1}: there is no box ${rank}`,
    );
  };
  const ranks =
    wish.boxes?.map((box) =>
      typeof box === 'number' ? byRank(box) : nearestBox(box, detected, found, frame),
    ) ??
    wish.classes?.map((query) => surestOf(query, found, labels)) ??
    found.slice(0, wish.top ?? 1).map(({ rank }) => rank);
  return {
    targets: ranks.map((rank) => FasterRCNNBoxScoreTarget.of([detected[rank] as DetectedBox])),
    explained: ranks.map((rank) => {
      const box = found[rank] as FoundBox;
      const { classIndex, label, probability } = box;
      return { classIndex, label, probability, box, share: null, similarity: null };
    }),
    boxes: found,
    categories: null,
    texts: null,
  };
}

function surestOf(
  query: number | string,
  found: readonly FoundBox[],
  labels: readonly string[] | undefined,
): number {
  const wanted = typeof query === 'number' ? query : findClass(labels, query);
  const box = found.find(({ classIndex }) => classIndex === wanted);
  if (box) return box.rank;
  const kinds = [...new Set(found.map(({ label, classIndex }) => label ?? String(classIndex)))].slice(0, 5);
  throw noDetection(
    `The model finds no ${labels?.[wanted] ?? `box of label ${wanted}`} in this picture. What it finds: ${kinds.join(', ')}`,
  );
}

/** The box that overlaps the wanted one most, of whatever label. */
function nearestBox(
  wanted: Corners,
  detected: readonly DetectedBox[],
  found: readonly FoundBox[],
  frame: PictureFrame,
): number {
  const inInput = frame.toInput(wanted);
  const overlaps = detected.map(({ box }) => overlapOf(inInput, box));
  const most = Math.max(...overlaps);
  const rank = overlaps.indexOf(most);
  if (most > leastOverlap) return rank;
  const corners = found[rank]?.corners.map((value) => value.toFixed(1)).join(', ');
  throw noDetection(
    `No box of the model is (${wanted.join(', ')}). The nearest is box ${rank}, (${corners}), with an overlap (IoU) of ${most.toFixed(2)}`,
  );
}

/** Intersection over union. */
function overlapOf(a: Corners, b: Corners): number {
  const area = ([x1, y1, x2, y2]: Corners) => Math.max(0, x2 - x1) * Math.max(0, y2 - y1);
  const both = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
  const either = area(a) + area(b) - both;
  return either > 0 ? both / either : 0;
}

function noDetection(problem: string): GradCamError {
  return new GradCamError('ERR_NO_DETECTION', `${problem}.`);
}
