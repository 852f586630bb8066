import { useLayoutEffect, useRef } from 'preact/hooks';
import { type ColormapName, colormapTable, colorOffset } from '../../visualization/colours/colormaps.js';
import { type Answer, decodeHeatmap, type ExplainedClass } from './explain-client.js';

const largestSide = 960;

interface HeatCanvasProps {
  readonly picture: ImageBitmap;
  readonly answer: Answer;
  readonly explained: ExplainedClass;
  readonly opacity: number;
  readonly colormap: ColormapName;
  readonly label: string;
}

/** The part of the picture that the model saw, as sharp as the picture is, with the heat over it. */
export function HeatCanvas({ picture, answer, explained, opacity, colormap, label }: HeatCanvasProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { image } = answer;
  const zoom = image.original_width / image.resized_width;
  const size = Math.min(largestSide / Math.max(image.width, image.height), Math.max(zoom, 2));
  const width = Math.round(image.width * size);
  const height = Math.round(image.height * size);

  // Before the browser paints: a canvas whose size was set is empty.
  useLayoutEffect(() => {
    const context = canvas.current?.getContext('2d');
    if (!context) return;
    const zoomDown = image.original_height / image.resized_height;
    context.imageSmoothingQuality = 'high';
    context.globalAlpha = 1;
    context.fillStyle = 'white';
    context.fillRect(0, 0, width, height);
    context.drawImage(
      picture,
      image.crop_left * zoom,
      image.crop_top * zoomDown,
      image.width * zoom,
      image.height * zoomDown,
      0,
      0,
      width,
      height,
    );
    context.globalAlpha = opacity;
    context.drawImage(colouredHeat(explained, colormap), 0, 0, width, height);
  }, [picture, explained, opacity, colormap, width, height]);

  return <canvas ref={canvas} width={width} height={height} role="img" aria-label={label} />;
}

function colouredHeat({ heatmap }: ExplainedClass, colormap: ColormapName): HTMLCanvasElement {
  const [height = 0, width = 0] = heatmap.shape;
  const values = decodeHeatmap(heatmap);
  const colours = colormapTable(colormap);
  const pixels = new ImageData(width, height);
  for (let index = 0; index < values.length; index++) {
    const colour = colorOffset(colormap, values[index] ?? 0);
    pixels.data.set(colours.subarray(colour, colour + 3), index * 4);
    pixels.data[index * 4 + 3] = 255;
  }
  const heat = document.createElement('canvas');
  heat.width = width;
  heat.height = height;
  heat.getContext('2d')?.putImageData(pixels, 0, 0);
  return heat;
}
