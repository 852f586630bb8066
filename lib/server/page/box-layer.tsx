import { nameOf } from './class-picker.js';
import type { Answer, FoundBox } from './explain-client.js';

/** So many are shown: of a detector's hundred boxes most are next to nothing. */
const mostShown = 20;

export const shownBoxes = ({ boxes }: Answer): readonly FoundBox[] => boxes?.slice(0, mostShown) ?? [];

/** "car 97.3%" */
export const boxName = ({ label, class: index, probability }: FoundBox) =>
  `${nameOf(label, index)}${probability === null ? '' : ` ${(probability * 100).toFixed(1)}%`}`;

export const toggled = (chosen: readonly number[], rank: number): number[] =>
  chosen.includes(rank) ? chosen.filter((each) => each !== rank) : [...chosen, rank];

interface BoxLayerProps {
  readonly answer: Answer;
  /** The box that the map belongs to. */
  readonly explained: number | null;
  readonly chosen: readonly number[];
  readonly onChange: (ranks: number[]) => void;
}

/** What a detector found, as boxes over the part of the picture that it saw; each is a button. */
export function BoxLayer({ answer, explained, chosen, onChange }: BoxLayerProps) {
  const { image } = answer;
  const across = image.original_width / image.resized_width;
  const down = image.original_height / image.resized_height;
  // In percent of the part that is shown.
  const x = (value: number) => ((value / across - image.crop_left) / image.width) * 100;
  const y = (value: number) => ((value / down - image.crop_top) / image.height) * 100;
  // The large ones first, so that each can be reached.
  const area = ({ box: [x1, y1, x2, y2] }: FoundBox) => (x2 - x1) * (y2 - y1);
  const largestFirst = [...shownBoxes(answer)].sort((a, b) => area(b) - area(a));
  return (
    <div class="boxes">
      {largestFirst.map((found) => {
        const [x1, y1, x2, y2] = found.box;
        const next = toggled(chosen, found.rank);
        return (
          <button
            key={found.rank}
            type="button"
            class={found.rank === explained ? 'this' : ''}
            aria-label={`Box ${found.rank}: ${boxName(found)}`}
            aria-pressed={chosen.includes(found.rank)}
            title={boxName(found)}
            style={{
              left: `${x(x1)}%`,
              top: `${y(y1)}%`,
              width: `${x(x2) - x(x1)}%`,
              height: `${y(y2) - y(y1)}%`,
            }}
            onClick={() => next.length > 0 && onChange(next)}
          />
        );
      })}
    </div>
  );
}
