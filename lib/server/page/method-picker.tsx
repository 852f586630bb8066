/** Run the model again and again: said before somebody waits. */
const slow = new Set(['scorecam', 'ablationcam']);

interface MethodPickerProps {
  readonly methods: readonly string[];
  readonly chosen: readonly string[];
  readonly onChange: (methods: string[]) => void;
}

/** Several that are chosen are shown side by side. */
export function MethodPicker({ methods, chosen, onChange }: MethodPickerProps) {
  const toggle = (method: string) => {
    const next = chosen.includes(method) ? chosen.filter((each) => each !== method) : [...chosen, method];
    if (next.length > 0) onChange(next);
  };
  return (
    <fieldset class="methods">
      <legend>Methods</legend>
      <div class="chips">
        {methods.map((method) => (
          <label key={method} class="chip" title={slow.has(method) ? 'Runs the model many times' : undefined}>
            <input type="checkbox" checked={chosen.includes(method)} onChange={() => toggle(method)} />
            <span>
              {method}
              {slow.has(method) && <em> slow</em>}
            </span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
