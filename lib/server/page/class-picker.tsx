import { useState } from 'preact/hooks';
import type { ClassReport } from './explain-client.js';

export const nameOf = (label: string | null | undefined, index: number) =>
  label?.split(',')[0] ?? `class ${index}`;

interface ClassPickerProps {
  readonly top: readonly ClassReport[];
  readonly labels: readonly string[] | null;
  readonly chosen: readonly number[];
  readonly onChange: (classes: number[]) => void;
}

/** The likeliest classes with their probabilities, and any other by name. */
export function ClassPicker({ top, labels, chosen, onChange }: ClassPickerProps) {
  const [search, setSearch] = useState('');
  const others = chosen.filter((index) => !top.some((each) => each.class === index));
  const rows = [
    ...top,
    ...others.map((index) => ({ class: index, label: labels?.[index] ?? null, probability: null })),
  ];
  const toggle = (index: number) => {
    const next = chosen.includes(index) ? chosen.filter((each) => each !== index) : [...chosen, index];
    if (next.length > 0) onChange(next);
  };
  const add = (text: string) => {
    setSearch(text);
    const index = labels?.indexOf(text) ?? -1;
    const wanted = index >= 0 ? index : /^\d+$/.test(text) && !labels ? Number(text) : -1;
    if (wanted < 0 || chosen.includes(wanted)) return;
    setSearch('');
    onChange([...chosen, wanted]);
  };
  return (
    <fieldset class="classes">
      <legend>Classes</legend>
      {rows.map(({ class: index, label, probability }) => (
        <label key={index} class="class-row">
          <input type="checkbox" checked={chosen.includes(index)} onChange={() => toggle(index)} />
          <span class="name" title={label ?? undefined}>
            {nameOf(label, index)}
          </span>
          <span class="probability">{probability === null ? '' : `${(probability * 100).toFixed(1)}%`}</span>
          <span class="bar" aria-hidden="true">
            <span style={{ width: `${(probability ?? 0) * 100}%` }} />
          </span>
        </label>
      ))}
      <input
        class="search"
        type="text"
        list="labels"
        aria-label="Add another class"
        placeholder={labels ? 'Add another class …' : 'Add a class by its number …'}
        value={search}
        onInput={({ currentTarget }) => add(currentTarget.value)}
      />
      {labels && (
        <datalist id="labels">
          {labels.map((label) => (
            <option key={label} value={label} />
          ))}
        </datalist>
      )}
    </fieldset>
  );
}
