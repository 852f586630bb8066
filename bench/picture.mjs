import sharp from 'sharp';
import { figure, geometricMean } from './statistics.mjs';

const barHeight = 13;
const labelWidth = 160;
const plotWidth = 360;
const panelGap = 60;
const top = 128;
/** What the legend needs. */
const narrowest = 760;
// Longer bars are cut off: they would leave no room to see what is near to 1.
const longest = 6;
const background = '#ffffff';
// A figure stays readable where the line of the prediction runs behind it.
const haloed = `stroke="${background}" stroke-width="4" paint-order="stroke"`;
const font = 'font-family="sans-serif"';

const looks = {
  ours: { color: '#1769aa', weight: 'bold', title: 'Grad-CAM by node-gradcam' },
  eager: { color: '#8a8a8a', weight: 'normal', title: 'plain prediction by PyTorch (eager)' },
  gradcam: { color: '#d2d2d2', weight: 'normal', title: 'Grad-CAM by pytorch-grad-cam' },
};

/** What all bars are relative to: the fastest prediction, or eager's where there was no other runtime. */
const yardsticks = [
  {
    ratios: { ours: 'oursToPrediction', eager: 'eagerToPrediction', gradcam: 'gradcamToPrediction' },
    title: 'the faster of ONNX Runtime and OpenVINO',
  },
  { ratios: { ours: 'oursToEager', gradcam: 'gradcamToEager' }, title: 'eager PyTorch' },
];

/** Bars of what a Grad-CAM takes, relative to a plain prediction: one image on the left, a batch on the right. */
export async function drawRatios(cells, path) {
  const measured = cells.filter(({ error, label, model }) => !error && label === model);
  const shown = measured.some(({ isa }) => isa === 'native')
    ? measured.filter(({ isa }) => isa === 'native')
    : measured;
  const yardstick = yardsticks.find(({ ratios }) =>
    shown.some((cell) => Number.isFinite(cell.ratios[ratios.ours])),
  );
  if (yardstick === undefined) return;
  const batches = [...new Set(shown.map(({ batch }) => batch))].sort((a, b) => a - b);
  const panels = batches.length > 2 ? [1, 8].filter((batch) => batches.includes(batch)) : batches;
  const models = [...new Set(shown.map(({ model }) => model))];
  await sharp(Buffer.from(drawing({ cells: shown, yardstick, panels, models })))
    .png()
    .toFile(path);
}

function drawing({ cells, yardstick, panels, models }) {
  const names = Object.keys(yardstick.ratios);
  const rowHeight = barHeight * names.length + 16;
  const rows = models.length > 1 ? [...models, null] : models; // null: the mean of all
  const valuesOf = (model, batch, name) =>
    cells
      .filter((cell) => cell.batch === batch && (model === null || cell.model === model))
      .map(({ ratios }) => ratios[yardstick.ratios[name]])
      .filter(Number.isFinite);
  const width = Math.max(
    narrowest,
    labelWidth + panels.length * plotWidth + (panels.length - 1) * panelGap + 60,
  );
  const height = top + rows.length * rowHeight + 16;
  const scale = (value) => (Math.min(value, longest) / longest) * plotWidth;
  const parts = [
    text(14, 28, 'What a heatmap costs, against a plain prediction', 'font-size="19" font-weight="bold"'),
    text(14, 50, `1 = a prediction by ${yardstick.title}; shorter is better`, 'font-size="13" fill="#444"'),
  ];
  let x = 14;
  for (const name of names) {
    const { color, weight, title } = looks[name];
    parts.push(bar(x, 64, 13, color), text(x + 19, 75, title, `font-size="13" font-weight="${weight}"`));
    x += 46 + title.length * (weight === 'bold' ? 7.9 : 6.6);
  }
  rows.forEach((model, row) => {
    const y = top + row * rowHeight;
    const weight = model === null ? 'font-weight="bold"' : '';
    const label = model ?? 'geometric mean';
    parts.push(
      text(
        labelWidth - 10,
        y + (barHeight * names.length) / 2 + 4,
        label,
        `font-size="13" text-anchor="end" ${weight}`,
      ),
    );
  });
  panels.forEach((batch, panel) => {
    const left = labelWidth + panel * (plotWidth + panelGap);
    const title = batch === 1 ? 'one image' : `batches of ${batch}`;
    parts.push(text(left, top - 24, title, 'font-size="14" font-weight="bold"'));
    const figures = [];
    rows.forEach((model, row) => {
      names.forEach((name, index) => {
        const value = geometricMean(valuesOf(model, batch, name));
        if (value === null) return;
        const y = top + row * rowHeight + index * barHeight;
        const { color, weight } = looks[name];
        parts.push(bar(left, y, scale(value), color));
        if (value > longest) parts.push(cut(left + plotWidth - 16, y));
        const digits = value < 10 ? 2 : 0;
        const style = `font-size="12" font-weight="${weight}" ${haloed}`;
        figures.push(text(left + scale(value) + 5, y + barHeight - 2, figure(value, digits), style));
      });
    });
    const one = left + scale(1);
    parts.push(
      `<line x1="${one}" y1="${top - 6}" x2="${one}" y2="${height - 12}" stroke="#d33" stroke-width="1.5" stroke-dasharray="4 3"/>`,
      text(one, top - 9, '1', 'font-size="12" fill="#d33" text-anchor="middle"'),
      ...figures,
    );
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <rect width="100%" height="100%" fill="${background}"/>
    ${parts.join('\n')}
  </svg>`;
}

const text = (x, y, content, style) => `<text x="${x}" y="${y}" ${font} ${style}>${content}</text>`;
const bar = (x, y, width, color) =>
  `<rect x="${x}" y="${y}" width="${width}" height="${barHeight - 1}" fill="${color}"/>`;
/** A slanted gap. */
const cut = (x, y) =>
  `<path d="M${x} ${y + barHeight} l5 -${barHeight + 1} l5 0 l-5 ${barHeight + 1} z" fill="${background}"/>`;
