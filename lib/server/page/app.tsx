import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { type ColormapName, colormapNames, lowestValue } from '../../visualization/colours/colormaps.js';
import { BoxPicker } from './box-picker.js';
import { ClassPicker } from './class-picker.js';
import { saveJson } from './downloads.js';
import { DropZone } from './drop-zone.js';
import {
  describeModel,
  listModels,
  type ModelDescription,
  ServerError,
  setToken,
  type Wanted,
} from './explain-client.js';
import { LayerTree } from './layer-tree.js';
import { MethodPicker } from './method-picker.js';
import { RequestFacts } from './request-facts.js';
import { ResultCard } from './result-card.js';
import { TextPicker } from './text-picker.js';
import { useExplanations } from './use-explanations.js';

interface Picture {
  readonly file: File;
  readonly bitmap: ImageBitmap;
}

/** Those for maps from 0 to 1. */
const mapColours = colormapNames.filter((name) => lowestValue(name) === 0);

export function App() {
  const [models, setModels] = useState<readonly string[]>([]);
  const [model, setModel] = useState<ModelDescription | null>(null);
  const [picture, setPicture] = useState<Picture | null>(null);
  /** Classes, categories or ranks of boxes, as the model's task is. */
  const [chosen, setChosen] = useState<readonly number[]>([]);
  const [texts, setTexts] = useState<readonly string[]>([]);
  const [layers, setLayers] = useState<readonly string[]>([]);
  const [methods, setMethods] = useState<readonly string[]>([]);
  const [opacity, setOpacity] = useState(0.55);
  const [colormap, setColormap] = useState<ColormapName>('jet');
  const [problem, setProblem] = useState<unknown>(null);

  // What was asked for first may come last: only the latest choice counts.
  const choices = useRef({ model: 0, picture: 0 });
  const choose = async (name: string) => {
    const turn = ++choices.current.model;
    try {
      const description = await describeModel(name);
      if (turn !== choices.current.model) return;
      setModel(description);
      setMethods([description.method]);
      setLayers([]);
      setChosen([]);
      setTexts([]);
      setProblem(null);
    } catch (error) {
      if (turn === choices.current.model) setProblem(error);
    }
  };
  const start = async () => {
    try {
      const names = await listModels();
      setModels(names);
      if (names[0] === undefined) throw new Error('No model is loaded yet.');
      await choose(names[0]);
    } catch (error) {
      setProblem(error);
    }
  };
  useEffect(() => {
    void start();
  }, []);

  const open = async (file: File) => {
    const turn = ++choices.current.picture;
    try {
      const bitmap = await createImageBitmap(file);
      if (turn !== choices.current.picture) return;
      setPicture({ file, bitmap });
      setChosen([]);
      setProblem(null);
    } catch {
      if (turn === choices.current.picture) setProblem(new Error(`This browser cannot show ${file.name}.`));
    }
  };

  const name = model?.name;
  const task = model?.task;
  const question = useMemo(() => {
    if (name === undefined || !picture || (task === 'clip' && texts.length === 0)) return null;
    const wanted: Wanted =
      task === 'clip'
        ? texts.map((text) => ['text', text] as const)
        : chosen.map((each) => [task === 'detection' ? 'box' : 'class', String(each)] as const);
    return { model: name, picture: picture.file, layers, wanted };
  }, [name, task, picture, layers, chosen, texts]);
  const answers = useExplanations(question, methods);
  const shown = methods.flatMap((method) => {
    const explained = answers.get(method);
    return explained ? [{ method, ...explained }] : [];
  });
  const latest = shown.find(({ answer }) => answer !== null)?.answer ?? null;
  const explained = latest?.explained.map((each) => each.rank ?? each.class) ?? [];
  const shownTargets = task === 'clip' || chosen.length === 0 ? explained : chosen;
  const failure = problem ?? shown.find(({ error }) => error !== null)?.error ?? null;
  const waiting = question !== null && methods.some((method) => answers.get(method)?.stale !== false);
  const fileName = picture?.file.name.replace(/\.[^.]+$/, '') ?? 'image';

  return (
    <>
      <header>
        <img src="./icon.svg" alt="" width="30" height="30" />
        <h1>
          node-gradcam <small>where does the model look?</small>
        </h1>
        {models.length > 0 && (
          <label class="model">
            <span>Model</span>
            <select value={model?.name} onChange={({ currentTarget }) => void choose(currentTarget.value)}>
              {models.map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          </label>
        )}
      </header>
      <main>
        <section class="stage" aria-label="Result">
          {failure !== null && <Problem error={failure} onToken={() => void start()} />}
          {picture && latest ? (
            <div
              class={`results ${shown.length * shownTargets.length > 1 ? 'several' : ''}`}
              style={{ '--columns': Math.min(shownTargets.length, 4) }}
              data-by-class={shown.length > 1 && shownTargets.length > 1}
              aria-live="polite"
            >
              {shown.flatMap(({ answer, stale }) =>
                (answer?.explained ?? []).map((explained) => (
                  <ResultCard
                    key={`${answer?.method} ${explained.rank ?? explained.class}`}
                    picture={picture.bitmap}
                    answer={answer as NonNullable<typeof answer>}
                    explained={explained}
                    stale={stale}
                    opacity={opacity}
                    colormap={colormap}
                    fileName={fileName}
                    ranks={shownTargets}
                    onRanks={setChosen}
                  />
                )),
              )}
            </div>
          ) : (
            !picture && <DropZone onFile={(file) => void open(file)} compact={false} />
          )}
          <div class={`progress ${waiting ? 'on' : ''}`} role="status">
            {waiting ? <span class="unseen">Explaining</span> : null}
          </div>
          {picture && (
            <div class="toolbar">
              <label class="opacity">
                <span>Heat</span>
                <input
                  type="range"
                  min="0"
                  max="1"
                  step="0.01"
                  value={opacity}
                  aria-label="Opacity of the heat"
                  onInput={({ currentTarget }) => setOpacity(Number(currentTarget.value))}
                />
                <output>{Math.round(opacity * 100)}%</output>
              </label>
              <label>
                <span>Colours</span>
                <select
                  value={colormap}
                  onChange={({ currentTarget }) => setColormap(currentTarget.value as ColormapName)}
                >
                  {mapColours.map((each) => (
                    <option key={each}>{each}</option>
                  ))}
                </select>
              </label>
              <button
                type="button"
                disabled={latest === null}
                onClick={() =>
                  saveJson(
                    shown.flatMap(({ answer }) => (answer ? [answer] : [])),
                    `${fileName}-explanation.json`,
                  )
                }
              >
                Save JSON
              </button>
              <DropZone onFile={(file) => void open(file)} compact />
            </div>
          )}
          {latest && <RequestFacts answer={latest} />}
        </section>
        {model && (
          <aside aria-label="What to explain">
            {task === 'clip' && <TextPicker texts={texts} onChange={setTexts} />}
            {latest?.boxes && <BoxPicker answer={latest} chosen={shownTargets} onChange={setChosen} />}
            {latest && (task === 'classification' || task === 'segmentation') && (
              <ClassPicker
                title={task === 'segmentation' ? 'Categories' : 'Classes'}
                top={
                  latest.categories?.map(({ share, ...each }) => ({ ...each, probability: share })) ??
                  latest.top
                }
                labels={model.labels}
                chosen={shownTargets}
                onChange={setChosen}
              />
            )}
            <MethodPicker methods={model.methods} chosen={methods} onChange={setMethods} />
            <LayerTree layers={model.layers} usual={model.layer} chosen={layers} onChange={setLayers} />
            <p class="about">
              {model.title}
              {model.description && ` · ${model.description}`} · sees {model.input.width} ×{' '}
              {model.input.height} pixels
            </p>
          </aside>
        )}
      </main>
    </>
  );
}

/** What went wrong; and where the server wants a token, a place to give it. */
function Problem({ error, onToken }: { readonly error: unknown; readonly onToken: () => void }) {
  const [token, setEntered] = useState('');
  if (error instanceof ServerError && error.status === 401) {
    return (
      <form
        class="problem"
        onSubmit={(event) => {
          event.preventDefault();
          setToken(token);
          onToken();
        }}
      >
        <label>
          <span>This server wants a token.</span>
          <input
            type="password"
            autocomplete="current-password"
            value={token}
            onInput={({ currentTarget }) => setEntered(currentTarget.value)}
          />
        </label>
        <button type="submit">Continue</button>
      </form>
    );
  }
  return (
    <p class="problem" role="alert">
      {error instanceof Error ? error.message : String(error)}
    </p>
  );
}
