export type ColourScale = 'jet' | 'viridis' | 'inferno' | 'gray';

/** Colours at equal distances, from 0 to 1; what lies between is mixed. */
const stops: Record<Exclude<ColourScale, 'jet'>, readonly string[]> = {
  viridis: ['440154', '472d7b', '3b528b', '2c728e', '21918c', '28ae80', '5ec962', 'addc30', 'fde725'],
  inferno: ['000004', '1f0c48', '550f6d', '88226a', 'ba3655', 'e35933', 'f98e09', 'f9cb35', 'fcffa4'],
  gray: ['000000', 'ffffff'],
};

export const colourScales: readonly ColourScale[] = ['jet', 'viridis', 'inferno', 'gray'];

/** 256 colours: red, green and blue, 0 to 255. */
export function colourTable(scale: ColourScale): Uint8ClampedArray {
  const table = new Uint8ClampedArray(768);
  for (let index = 0; index < 256; index++) table.set(colourAt(scale, index / 255), index * 3);
  return table;
}

function colourAt(scale: ColourScale, value: number): number[] {
  if (scale === 'jet') return [3, 2, 1].map((peak) => 255 * Math.min(1, 1.5 - Math.abs(4 * value - peak)));
  const colours = stops[scale];
  const position = value * (colours.length - 1);
  const below = Math.min(Math.floor(position), colours.length - 2);
  const share = position - below;
  return [0, 2, 4].map((start) => {
    const [low, high] = [below, below + 1].map((at) =>
      Number.parseInt(colours[at]?.slice(start, start + 2) ?? '0', 16),
    );
    return (low ?? 0) + share * ((high ?? 0) - (low ?? 0));
  });
}
