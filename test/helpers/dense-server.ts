import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { readJson } from './fixtures.js';
import { fixturePath } from './root.js';
import { type RunningServer, startServer } from './server.js';
import type { StoredValues } from './stored-values.js';

// Servers of segmentation models and detectors. What they must find: test/fixtures/dense-server, which
// tools/fixtures/networks/dense_server.py wrote.

export interface StoredBox {
  readonly box: readonly [number, number, number, number];
  readonly label: number;
  readonly score: number;
}

export const denseGolden = readJson<{
  segmentation: {
    readonly input: StoredValues;
    readonly maps: StoredValues;
    readonly score: number;
    readonly share: number;
    readonly referenceError: { readonly maps: number; readonly score: number };
  };
  detection: {
    readonly pixels: readonly number[];
    readonly whole: readonly StoredBox[];
    readonly barred: readonly StoredBox[];
  };
}>('dense-server/golden.json');

/** A fixture, and its sidecar; without one null. */
export interface DescribedModel {
  readonly file: string;
  readonly sidecar: Readonly<Record<string, unknown>> | null;
}

export interface DenseServer extends AsyncDisposable {
  readonly running: RunningServer;
}

/** Values as they are in the file, 0 to 1. */
export const asStored = { mean: [0, 0, 0], std: [1, 1, 1], fit: 'stretch' } as const;

/** Fixtures in a folder, each beside its sidecar; their paths by name. */
export async function describeIn(
  folder: string,
  models: Readonly<Record<string, DescribedModel>>,
): Promise<Record<string, string>> {
  const paths: Record<string, string> = {};
  for (const [name, { file, sidecar }] of Object.entries(models)) {
    const path = join(folder, `${name}.pt`);
    await copyFile(fixturePath(file), path);
    if (sidecar) await writeFile(join(folder, `${name}.json`), JSON.stringify(sidecar));
    paths[name] = path;
  }
  return paths;
}

/** A server of fixtures, each beside a sidecar, in a folder of its own with a space in its name. */
export async function startDescribed(models: Readonly<Record<string, DescribedModel>>): Promise<DenseServer> {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam dense '));
  const running = await startServer({ models: await describeIn(folder, models) });
  return {
    running,
    [Symbol.asyncDispose]: async () => {
      await running.server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The picture of the golden boxes, 24 x 24 or so many of its rows, each pixel so many times as large. */
export async function picture({ rows = 24, times = 1 } = {}): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = Uint8Array.from(denseGolden.detection.pixels.slice(0, rows * 24 * 3));
  const png = await sharp(bytes, { raw: { width: 24, height: rows, channels: 3 } })
    .resize(24 * times, rows * times, { kernel: 'nearest' })
    .png()
    .toBuffer();
  return new Uint8Array(png);
}

export interface FoundBox {
  readonly rank: number;
  readonly class: number;
  readonly label: string | null;
  readonly probability: number;
  readonly box: number[];
}
/** What answers in JSON have of an explained target, with the map of the plain protocol or of V1. */
export interface DenseMap extends Omit<FoundBox, 'rank' | 'box' | 'probability'> {
  readonly probability: number | null;
  readonly rank: number | null;
  readonly box: number[] | null;
  readonly share: number | null;
  readonly score: number;
  readonly has_positive_evidence: boolean;
  readonly heatmap: { readonly data: string } & number[][];
}
export interface DenseAnswer {
  readonly task: string;
  readonly top: unknown[];
  readonly boxes: FoundBox[] | null;
  readonly categories:
    | { readonly class: number; readonly label: string | null; readonly share: number }[]
    | null;
  readonly explained: DenseMap[];
  readonly maps: DenseMap[];
}
