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

/**
 * The colour of `cv2.cvtColor([hue, saturation, value], COLOR_HSV2RGB)`; value 0 to 255. In float32, as OpenCV's scalar
 * code computes it; its vector code differs by up to 1.
 * @internal
 */
export function colorOfHue({ hue, saturation }: Hue, value: number): RgbColor {
  const f = Math.fround;
  const position = f(hue * f(6 / 180));
  const sector = Math.floor(position) % 6;
  const fraction = f(position - Math.floor(position));
  const share = f(saturation * f(1 / 255));
  const brightness = f(value * f(1 / 255));
  const level = (part: number) => roundHalfToEven(f(f(brightness * part) * 255));
  const high = value;
  const low = level(f(1 - share));
  const falling = level(f(1 - f(share * fraction)));
  const rising = level(f(1 - f(share * f(1 - fraction))));
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

function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded;
}
