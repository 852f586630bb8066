// The table of docs/models.md.

function reshapeText(reshape) {
  if (!reshape) return 'none';
  const { kind, ...more } = reshape;
  const text = Object.entries(more)
    .map(([key, value]) => `${key}: ${Array.isArray(value) ? `[${value.join(', ')}]` : value}`)
    .join(', ');
  return text ? `\`{ kind: '${kind}', ${text} }\`` : `\`'${kind}'\``;
}

const small = (value) =>
  value
    .toExponential(1)
    .replace('e-', 'e-0')
    .replace(/e-0(\d\d)/, 'e-$1');
const largest = (differences, ways) => small(Math.max(...ways.map((way) => differences[way])));

export const verdictOf = ({ faults, suggestion }) =>
  faults.length > 0 ? 'wrong' : suggestion.code ? `refused, rightly: \`${suggestion.code}\`` : 'right';

export function tableOf(rows) {
  const head = [
    'model',
    'file',
    'input',
    'layer suggested',
    'reshape',
    'Grad-CAM',
    'Eigen-CAM',
    'its own float32',
    'verdict',
  ];
  const lines = rows.map((row) => {
    const { suggestion, differences, references } = row;
    const methods = Object.values(differences);
    return [
      `\`${row.name}\``,
      row.scripted ? 'scripted' : 'traced',
      row.shape.join(' x '),
      suggestion?.path ? `\`${suggestion.path}\`` : '-',
      suggestion?.path ? reshapeText(suggestion.reshapeTransform) : '-',
      ...['GradCAM', 'EigenCAM'].map((method) =>
        differences[method] ? largest(differences[method], ['fast', 'plain']) : '-',
      ),
      methods.length > 0 ? small(Math.max(...Object.values(references))) : '-',
      verdictOf(row),
    ];
  });
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
