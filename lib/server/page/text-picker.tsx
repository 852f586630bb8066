import { useState } from 'preact/hooks';

interface TextPickerProps {
  readonly texts: readonly string[];
  readonly onChange: (texts: string[]) => void;
}

/** What a CLIP looks for: a text in the field and Enter; each that is there can be taken away. */
export function TextPicker({ texts, onChange }: TextPickerProps) {
  const [text, setText] = useState('');
  const add = () => {
    const wanted = text.trim();
    setText('');
    if (wanted !== '' && !texts.includes(wanted)) onChange([...texts, wanted]);
  };
  return (
    <fieldset class="classes">
      <legend>Texts</legend>
      {texts.map((each) => (
        <label key={each} class="class-row">
          <input type="checkbox" checked onChange={() => onChange(texts.filter((other) => other !== each))} />
          <span class="name" title={each}>
            {each}
          </span>
        </label>
      ))}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          add();
        }}
      >
        <input
          class="search"
          type="text"
          aria-label="What to look for"
          placeholder="What to look for: the cat …"
          maxLength={300}
          value={text}
          onInput={({ currentTarget }) => setText(currentTarget.value)}
        />
      </form>
    </fieldset>
  );
}
