import { boxName, shownBoxes, toggled } from './box-layer.js';
import type { Answer } from './explain-client.js';

interface BoxPickerProps {
  readonly answer: Answer;
  readonly chosen: readonly number[];
  readonly onChange: (ranks: number[]) => void;
}

/** What a detector found, the surest first; several boxes that are chosen are shown side by side. */
export function BoxPicker({ answer, chosen, onChange }: BoxPickerProps) {
  return (
    <fieldset class="classes">
      <legend>Boxes</legend>
      {shownBoxes(answer).map((found) => (
        <label key={found.rank} class="class-row">
          <input
            type="checkbox"
            checked={chosen.includes(found.rank)}
            onChange={() => {
              const next = toggled(chosen, found.rank);
              if (next.length > 0) onChange(next);
            }}
          />
          <span class="name">{boxName(found)}</span>
          <span class="bar" aria-hidden="true">
            <span style={{ width: `${(found.probability ?? 0) * 100}%` }} />
          </span>
        </label>
      ))}
    </fieldset>
  );
}
