import { copyFile, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readJson } from './fixtures.js';
import { fixturePath } from './root.js';

// What tools/fixtures/networks/scores.py wrote: values of the models in double precision.

export interface Values {
  readonly values: readonly number[];
  readonly referenceError: number;
}

export interface ClassifierCase {
  readonly name: string;
  /** What the outputs are. */
  readonly scores: 'logits' | 'probabilities' | 'sigmoid' | 'binary';
  readonly labels?: readonly string[];
  readonly outputs: Values;
  /** By class. */
  readonly probabilities: Values;
  /** Of each class, of the picture's size. */
  readonly maps: readonly Values[];
}

export interface ScoresGolden {
  readonly picture: { readonly shape: readonly number[]; readonly values: readonly number[] };
  readonly classifiers: readonly ClassifierCase[];
  readonly segmenters: readonly { name: string; mask: readonly number[]; map: Values }[];
  readonly pictures: readonly {
    readonly file: string;
    readonly bits: number;
    readonly range: readonly [number, number] | null;
    readonly size?: number;
    readonly antialias?: boolean;
    readonly values: readonly number[];
  }[];
}

export const golden: ScoresGolden = readJson<ScoresGolden>('scores/golden.json');
export const scoresPath = (file: string): string => fixturePath(`scores/${file}`);

export function caseNamed(name: string): ClassifierCase {
  const found = golden.classifiers.find((each) => each.name === name);
  if (!found) throw new Error(`There is no case ${name}.`);
  return found;
}

/** The input as it is in the picture. */
export const input = { width: 24, height: 24, resize: 24, mean: [0, 0, 0], std: [1, 1, 1] } as const;

/** A model in a folder of its own, with a sidecar. */
export async function described(
  name: string,
  sidecar: Readonly<Record<string, unknown>>,
): Promise<{ readonly folder: string; readonly model: string; readonly picture: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-scores-'));
  const [model, picture] = [join(folder, 'model.pt'), join(folder, 'picture.png')];
  await copyFile(scoresPath(`${name}.pt`), model);
  await copyFile(scoresPath('picture.png'), picture);
  await writeFile(join(folder, 'model.json'), JSON.stringify({ input, layer: 'top', ...sidecar }));
  return { folder, model, picture };
}

/** Index of the highest. */
export const highest = (values: readonly number[]): number => values.indexOf(Math.max(...values));
