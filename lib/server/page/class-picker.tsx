import { useState } from 'preact/hooks';
import type { ClassReport } from './explain-client.js';

export const nameOf = (label: string | null | undefined, index: number) =>
  label?.split(',')[0] ?? `class ${index}`;

/** What somebody means who typed so much: a number, one of a label's names, or the beginning of just one; else -1. */
function findClass(labels: readonly string[] | null, text: string): number {
  if (/^\d+$/.test(text))
    return Number(text) < (labels?.length ?? Number.POSITIVE_INFINITY) ? Number(text) : -1;
  if (!labels || text === '') return -1;
  const names = labels.map((label) => label.toLowerCase().split(/, */));
  const exact = names.findIndex((each) => each.includes(text));
  if (exact >= 0) return exact;
  const begins = names.flatMap((each, index) => (each.some((name) => name.startsWith(text)) ? [index] : []));
  return begins.length === 1 ? (begins[0] ?? -1) : -1;
}

interface ClassPickerProps {
  readonly title: string;
  /** The likeliest classes with their probabilities, or the categories that are there with their shares. */
  readonly top: readonly ClassReport[];
  readonly labels: readonly string[] | null;
  readonly chosen: readonly number[];
  readonly onChange: (classes: number[]) => void;
}

/** The likeliest classes with their probabilities, and any other by name. */
export function ClassPicker({ title, top, labels, chosen, onChange }: ClassPickerProps) {
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
  const add = (index: number) => {
    if (index < 0 || chosen.includes(index)) return;
    setSearch('');
    onChange([...chosen, index]);
  };
  return (
    <fieldset class="classes">
      <legend>{title}</legend>
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
        onInput={({ currentTarget: { value } }) => {
          setSearch(value);
          add(labels?.indexOf(value) ?? -1);
        }}
        onKeyDown={({ key, currentTarget: { value } }) => {
          if (key === 'Enter') add(findClass(labels, value.trim().toLowerCase()));
        }}
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
