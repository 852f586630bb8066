import { useRef } from 'preact/hooks';
import type { ColormapName } from '../../visualization/colours/colormaps.js';
import { nameOf } from './class-picker.js';
import { saveCanvas } from './downloads.js';
import type { Answer, ExplainedClass } from './explain-client.js';
import { HeatCanvas } from './heat-canvas.js';

interface ResultCardProps {
  readonly picture: ImageBitmap;
  readonly answer: Answer;
  readonly explained: ExplainedClass;
  readonly stale: boolean;
  readonly opacity: number;
  readonly colormap: ColormapName;
  readonly fileName: string;
}

/** One map over the picture, with what it explains. */
export function ResultCard({
  picture,
  answer,
  explained,
  stale,
  opacity,
  colormap,
  fileName,
}: ResultCardProps) {
  const card = useRef<HTMLElement>(null);
  const name = nameOf(explained.label, explained.class);
  const probability = explained.probability === null ? '' : ` ${(explained.probability * 100).toFixed(1)}%`;
  const { total } = answer.timings_ms;
  const save = () => {
    const canvas = card.current?.querySelector('canvas');
    if (canvas) saveCanvas(canvas, `${fileName}-${answer.method}-${explained.class}.png`);
  };
  return (
    <figure ref={card} class={`result ${stale ? 'stale' : ''}`} aria-busy={stale}>
      <HeatCanvas
        picture={picture}
        answer={answer}
        explained={explained}
        opacity={opacity}
        colormap={colormap}
        label={`Heat of ${answer.method} for ${name}`}
      />
      <figcaption>
        <span class="what">
          <strong>{name}</strong>
          {probability}
        </span>
        <span class="how">
          {answer.method} · {total.toFixed(0)} ms
        </span>
        <button
          type="button"
          class="quiet"
          onClick={save}
          aria-label={`Save ${answer.method} for ${name} as PNG`}
        >
          PNG
        </button>
      </figcaption>
      {answer.note !== null && <p class="note">No probability: {answer.note}</p>}
      {!explained.has_positive_evidence && <p class="note">Nothing at this layer speaks for this class.</p>}
    </figure>
  );
}
