import type { RgbColor } from './colormaps.js';

/** A colour of one hue and saturation, as OpenCV keeps them in bytes: hue 0 to 179, two degrees each. */
export interface Hue {
  readonly hue: number;
  readonly saturation: number;
}

/** The hue and saturation of `cv2.cvtColor(colour, COLOR_RGB2HSV)`. @internal */
export function hueOf([red, green, blue]: RgbColor): Hue {
  const value = Math.max(red, green, blue);
  const range = value - Math.min(red, green, blue);
  if (range === 0) return { hue: 0, saturation: 0 };
  const sector =
    value === red
      ? (green - blue) / range
      : value === green
        ? 2 + (blue - red) / range
        : 4 + (red - green) / range;
  return {
    hue: (Math.round(30 * sector) + 180) % 180,
    saturation: Math.round((255 * range) / value),
  };
}

/** The colour of `cv2.cvtColor([hue, saturation, value], COLOR_HSV2RGB)`; value 0 to 255. @internal */
export function colorOfHue({ hue, saturation }: Hue, value: number): RgbColor {
  const position = hue / 30;
  const sector = Math.floor(position) % 6;
  const fraction = position - Math.floor(position);
  const share = saturation / 255;
  const high = value;
  const low = Math.round(value * (1 - share));
  const falling = Math.round(value * (1 - share * fraction));
  const rising = Math.round(value * (1 - share * (1 - fraction)));
  const colors: readonly RgbColor[] = [
    [high, rising, low],
    [falling, high, low],
    [low, high, rising],
    [low, falling, high],
    [rising, low, high],
    [high, low, falling],
  ];
  return colors[sector] ?? [high, high, high];
}
