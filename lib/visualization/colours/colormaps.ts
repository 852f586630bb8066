import { invalidArgumentType } from '../../errors/errors.js';
import { colormapTables } from './colormap-tables.js';

/**
 * Names of the colour maps. `'jet'` is OpenCV's, as pytorch-grad-cam draws it; `'matplotlib-jet'` differs a little. All
 * others are matplotlib's, but `'gray'`, which is the value itself. `'diverging'` (RdBu_r: blue, white at 0, red) is for signed maps, from -1 to 1; all others are
 * for maps from 0 to 1.
 */
export type ColormapName =
  | 'jet'
  | 'matplotlib-jet'
  | 'turbo'
  | 'viridis'
  | 'inferno'
  | 'magma'
  | 'gray'
  | 'diverging';

/** A colour as red, green and blue, each 0 to 255. */
export type RgbColor = readonly [red: number, green: number, blue: number];

// Not Node's Buffer: the server's page draws with these tables, too.
const bytes = (base64: string) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

const tables: Record<ColormapName, Uint8Array> = {
  jet: bytes(colormapTables.jet),
  'matplotlib-jet': bytes(colormapTables['matplotlib-jet']),
  turbo: bytes(colormapTables.turbo),
  viridis: bytes(colormapTables.viridis),
  inferno: bytes(colormapTables.inferno),
  magma: bytes(colormapTables.magma),
  gray: Uint8Array.from({ length: 768 }, (_, index) => Math.floor(index / 3)),
  diverging: bytes(colormapTables.diverging),
};

/** All colour maps. */
export const colormapNames = Object.keys(tables) as ColormapName[];

/**
 * 256 RGB colours, 768 bytes.
 * @internal
 */
export function colormapTable(name: unknown): Uint8Array {
  if (typeof name === 'string' && Object.hasOwn(tables, name)) return tables[name as ColormapName];
  throw invalidArgumentType('colormap', `one of '${colormapNames.join("', '")}'`, name);
}

/**
 * The lowest value that the colour map has a colour for; the highest is 1.
 * @internal
 */
export function lowestValue(name: ColormapName): -1 | 0 {
  return name === 'diverging' ? -1 : 0;
}

/**
 * Where in the table a value's colour begins: for most as OpenCV's `applyColorMap(uint8(255 * map))` takes it; for the two
 * that exist for likeness to matplotlib as matplotlib does, which puts 0 of a signed map into the middle. In float32.
 * @internal
 */
export function colorOffset(name: ColormapName, value: number): number {
  const index =
    name === 'diverging'
      ? Math.min(255, Math.fround((value + 1) * 128))
      : name === 'matplotlib-jet'
        ? Math.min(255, Math.fround(value * 256))
        : Math.fround(255 * value);
  return Math.trunc(index) * 3;
}

/**
 * `count` colours that are easy to tell apart: equal steps through matplotlib's gist_rainbow.
 * @internal
 */
export function distinctColors(count: number): RgbColor[] {
  const rainbow = bytes(colormapTables.rainbow);
  return Array.from({ length: count }, (_, index) => {
    const offset = Math.trunc(index * (1 / count) * 256) * 3;
    return [rainbow[offset] ?? 0, rainbow[offset + 1] ?? 0, rainbow[offset + 2] ?? 0];
  });
}
