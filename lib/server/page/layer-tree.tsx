import { useMemo } from 'preact/hooks';
import type { LayerDescription } from './explain-client.js';

interface LayerNode extends LayerDescription {
  readonly name: string;
  readonly children: LayerNode[];
}

interface LayerTreeProps {
  readonly layers: readonly LayerDescription[];
  /** What is taken when none is chosen. */
  readonly usual: readonly string[];
  readonly chosen: readonly string[];
  readonly onChange: (layers: string[]) => void;
}

/** The model's layers as it is built of them, with the shapes they give; several that are chosen are averaged. */
export function LayerTree({ layers, usual, chosen, onChange }: LayerTreeProps) {
  const roots = useMemo(() => buildTree(layers), [layers]);
  const toggle = (path: string) =>
    onChange(chosen.includes(path) ? chosen.filter((each) => each !== path) : [...chosen, path]);
  return (
    <fieldset class="layers">
      <legend>Layer</legend>
      <div class="row">
        <span class="hint">
          {chosen.length === 0 ? `${usual.join(', ') || 'the suggested one'}, as usual` : chosen.join(', ')}
        </span>
        {chosen.length > 0 && (
          <button type="button" class="quiet" onClick={() => onChange([])}>
            reset
          </button>
        )}
      </div>
      <ul class="tree">
        {roots.map((node) => (
          <Branch key={node.path} node={node} usual={usual} chosen={chosen} onToggle={toggle} />
        ))}
      </ul>
    </fieldset>
  );
}

interface BranchProps {
  readonly node: LayerNode;
  readonly usual: readonly string[];
  readonly chosen: readonly string[];
  readonly onToggle: (path: string) => void;
}

function Branch({ node, usual, chosen, onToggle }: BranchProps) {
  const row = <Leaf node={node} usual={usual} chosen={chosen} onToggle={onToggle} />;
  if (node.children.length === 0) return <li>{row}</li>;
  const holdsUsual = usual.some((path) => path.startsWith(`${node.path}.`));
  return (
    <li class="branch">
      {row}
      <details open={holdsUsual}>
        <summary aria-label={`${node.children.length} inside ${node.path}`}>
          {node.children.length} inside
        </summary>
        <ul>
          {node.children.map((child) => (
            <Branch key={child.path} node={child} usual={usual} chosen={chosen} onToggle={onToggle} />
          ))}
        </ul>
      </details>
    </li>
  );
}

function Leaf({ node, usual, chosen, onToggle }: BranchProps) {
  const { path, name, type, shape, called } = node;
  const spatial = shape !== null && shape.length > 2 && shape.slice(2).some((length) => length > 1);
  const isChosen = chosen.includes(path);
  const isUsual = chosen.length === 0 && usual.includes(path);
  return (
    <label class={`layer ${called && spatial ? '' : 'unfit'} ${isUsual ? 'usual' : ''}`}>
      <input
        type="checkbox"
        checked={isChosen}
        disabled={!called || (shape !== null && !spatial)}
        onChange={() => onToggle(path)}
      />
      <span class="name">{name}</span>
      <span class="type">{type}</span>
      <span class="shape">{shape ? shape.slice(1).join('×') : ''}</span>
    </label>
  );
}

function buildTree(layers: readonly LayerDescription[]): LayerNode[] {
  const roots: LayerNode[] = [];
  const open: LayerNode[] = [];
  for (const layer of layers) {
    const node: LayerNode = { ...layer, name: layer.path.split('.').at(-1) ?? layer.path, children: [] };
    open.length = layer.depth;
    (open.at(-1)?.children ?? roots).push(node);
    open.push(node);
  }
  return roots;
}
