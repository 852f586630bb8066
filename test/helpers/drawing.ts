import type { RgbImage } from 'node-gradcam';
import sharp from 'sharp';
import { readJson, type StoredArray } from './fixtures.js';
import { fixturePath } from './root.js';

/** What tools/fixtures/pictures/drawing.py wrote. */
export interface DrawingGolden {
  readonly map: StoredArray;
  readonly image: string;
  readonly colours: {
    readonly tables: Readonly<Record<string, readonly number[]>>;
    readonly signed: { readonly map: StoredArray; readonly rgb: readonly number[] };
  };
  readonly blurs: readonly { sigma: number; blurred: StoredArray }[];
  readonly attentions: readonly { blur: boolean; map: StoredArray; file: string }[];
  readonly factorization: {
    readonly explanations: StoredArray;
    readonly cases: readonly { imageWeight: number; file: string }[];
    readonly scores: StoredArray;
    readonly labels: readonly string[];
    readonly legend: Readonly<Record<string, readonly string[]>>;
  };
  readonly deprocessed: readonly { attribution: StoredArray; file: string }[];
  readonly attributions: {
    readonly attribution: StoredArray;
    readonly cases: readonly {
      sign: 'all' | 'positive' | 'negative' | 'absolute';
      outlierPercentage: number;
      map: StoredArray;
    }[];
  };
  readonly regions: readonly {
    threshold: number;
    box: readonly number[];
    points: readonly (readonly number[])[];
  }[];
  readonly colourDistance: {
    readonly first: readonly number[];
    readonly second: readonly number[];
    readonly meanCiede2000: number;
  };
  readonly npy: readonly {
    dtype: 'float32' | 'float64' | 'uint8' | 'int64';
    shape: readonly number[];
    data: readonly number[];
    npy: string;
  }[];
  readonly demo: { readonly overlay: string; readonly attention: string };
}

export const golden = readJson<DrawingGolden>('drawing/golden.json');

/** A picture among the fixtures. */
export async function readPicture(file: string): Promise<RgbImage & { readonly rgb: Uint8Array }> {
  const { data, info } = await sharp(fixturePath(file))
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { rgb: new Uint8Array(data), width: info.width, height: info.height };
}

/** Red, green and blue of one pixel. */
export function pixelAt({ rgb, width }: RgbImage, x: number, y: number): number[] {
  return Array.from(rgb.subarray((y * width + x) * 3, (y * width + x) * 3 + 3));
}
