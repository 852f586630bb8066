import sharp from 'sharp';

const barHeight = 18;
const labelWidth = 190;
const plotWidth = 560;
// A figure stays readable where the line of the forward pass runs behind it.
const haloed = 'stroke="white" stroke-width="4" paint-order="stroke"';
const colors = { ours: '#1769aa', gradcam: '#c9c9c9' };

/** Bars of the time of an explain relative to eager PyTorch's own forward pass: ours, and pytorch-grad-cam's. */
export async function drawRatios(cells, path) {
  const rows = cells
    .filter(({ error }) => !error)
    .map(({ label, batch, ratios }) => ({
      label: `${label}, B=${batch}`,
      ours: ratios.oursToEager,
      gradcam: ratios.gradcamToEager,
    }));
  if (rows.length === 0) return;
  const most = Math.max(...rows.map(({ gradcam, ours }) => Math.max(gradcam, ours)), 1);
  const scale = (value) => (value / most) * plotWidth;
  const rowHeight = barHeight * 2 + 10;
  const top = 70;
  const height = top + rows.length * rowHeight + 30;
  const width = labelWidth + plotWidth + 70;
  const text = (x, y, content, extra = '') =>
    `<text x="${x}" y="${y}" font-family="sans-serif" font-size="13" ${extra}>${content}</text>`;
  const bars = [];
  const figures = [];
  rows.forEach(({ label, ours, gradcam }, index) => {
    const y = top + index * rowHeight;
    figures.push(text(labelWidth - 10, y + barHeight + 5, label, 'text-anchor="end"'));
    for (const [value, color, offset] of [
      [ours, colors.ours, 0],
      [gradcam, colors.gradcam, barHeight + 1],
    ]) {
      bars.push(
        `<rect x="${labelWidth}" y="${y + offset}" width="${scale(value)}" height="${barHeight}" fill="${color}"/>`,
      );
      figures.push(text(labelWidth + scale(value) + 6, y + offset + 14, value.toFixed(2), haloed));
    }
  });
  const one = labelWidth + scale(1);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">
    <rect width="100%" height="100%" fill="white"/>
    ${text(10, 24, 'Time of a Grad-CAM, relative to eager PyTorch\u2019s forward pass (shorter is better)', 'font-weight="bold"')}
    <rect x="10" y="38" width="14" height="14" fill="${colors.ours}"/>${text(30, 50, 'node-gradcam')}
    <rect x="140" y="38" width="14" height="14" fill="${colors.gradcam}"/>${text(160, 50, 'pytorch-grad-cam')}
    ${bars.join('\n')}
    <line x1="${one}" y1="${top - 8}" x2="${one}" y2="${height - 20}" stroke="#d33" stroke-dasharray="4 3"/>
    ${figures.join('\n')}
    ${text(one + 4, height - 8, 'the forward pass', 'fill="#d33"')}
  </svg>`;
  await sharp(Buffer.from(svg)).png().toFile(path);
}
