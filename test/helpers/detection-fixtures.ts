import { Tensor } from 'node-gradcam';
import { readArray, readJson, type StoredArray } from './fixtures.js';
import { fixturePath } from './root.js';

// test/fixtures/detection, which tools/fixtures/architectures/detection.py wrote.

export interface DetectionCase {
  readonly name: string;
  readonly method: string;
  readonly model: string;
  readonly input: StoredArray;
  readonly layer: string;
  readonly heatmaps: StoredArray;
  readonly referenceError: Readonly<Record<'heatmaps' | 'detections' | 'scores', number>>;
  readonly source: string;
  /** Segmentation: of each image the explained category, its mask, and the categories that are there. */
  readonly categories?: readonly number[];
  readonly masks?: StoredArray;
  readonly present?: readonly (readonly number[])[];
  /** Detection: of each image the wanted boxes and what the model finds. */
  readonly boxes?: readonly {
    readonly labels: readonly number[];
    readonly boundingBoxes: readonly (readonly number[])[];
    readonly iouThreshold: number;
  }[];
  readonly detections?: readonly Readonly<Record<'boxes' | 'labels' | 'scores', readonly number[]>>[];
  readonly scores?: readonly number[];
  /** A TorchScript target's file. */
  readonly target?: string;
}

export const detectionCases = readJson<{ cases: readonly DetectionCase[] }>('detection/golden.json').cases;
export const detectionPath = (name: string) => fixturePath(`detection/${name}`);
export const floatsOf = (stored: StoredArray | undefined) =>
  Float32Array.from(stored ? readArray({ ...stored, file: `detection/${stored.file}` }) : []);
export const tensorIn = (stored: StoredArray) => Tensor.from(floatsOf(stored), stored.shape);
