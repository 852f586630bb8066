import { useRef } from 'preact/hooks';
import type { ColormapName } from '../../visualization/colours/colormaps.js';
import { BoxLayer } from './box-layer.js';
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
  /** Of a detector: the boxes that are chosen. */
  readonly ranks: readonly number[];
  readonly onRanks: (ranks: number[]) => void;
}

/** " 40.3%"; of a category " on 12.1%", of a text its cosine. */
function figureOf({ probability, share, similarity }: ExplainedClass): string {
  if (share !== null) return ` on ${(share * 100).toFixed(1)}%`;
  if (similarity !== null) return ` ${similarity.toFixed(2)}`;
  return probability === null ? '' : ` ${(probability * 100).toFixed(1)}%`;
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
  ranks,
  onRanks,
}: ResultCardProps) {
  const card = useRef<HTMLElement>(null);
  const name = nameOf(explained.label, explained.class);
  const figure = figureOf(explained);
  const { total } = answer.timings_ms;
  const save = () => {
    const canvas = card.current?.querySelector('canvas');
    if (canvas) saveCanvas(canvas, `${fileName}-${answer.method}-${explained.rank ?? explained.class}.png`);
  };
  return (
    <figure ref={card} class={`result ${stale ? 'stale' : ''}`} aria-busy={stale}>
      <div class="seen">
        <HeatCanvas
          picture={picture}
          answer={answer}
          explained={explained}
          opacity={opacity}
          colormap={colormap}
          label={`Heat of ${answer.method} for ${name}`}
        />
        {answer.boxes && (
          <BoxLayer answer={answer} explained={explained.rank} chosen={ranks} onChange={onRanks} />
        )}
      </div>
      <figcaption>
        <span class="what">
          <strong>{name}</strong>
          {figure}
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
      {!explained.has_positive_evidence && <p class="note">Nothing at this layer speaks for it.</p>}
    </figure>
  );
}
