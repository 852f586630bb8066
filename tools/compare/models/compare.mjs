// What becomes of one architecture's file with default options: the layer that is suggested, and its maps beside
// pytorch-grad-cam's.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  categoryMask,
  EigenCAM,
  FasterRCNNBoxScoreTarget,
  GradCAM,
  loadModel,
  SemanticSegmentationTarget,
  Tensor,
} from 'node-gradcam';

const methods = { GradCAM, EigenCAM };
/** pytorch-grad-cam resizes maps with positions in float32. */
const largestFloat64Error = 1e-5;
/** Beyond this, rounding does not explain how far pytorch-grad-cam's float32 is from its float64 (float64_result.py): float64 decides. */
const largestReferenceError = 1e-3;
/** Maps that vary less say nothing. */
const leastSpread = 0.02;

export const allowedError = (referenceError) => 4 * referenceError + 1e-5;

function numbersOf(path, Kind) {
  const bytes = readFileSync(path);
  return new Kind(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

function largestDifference(ours, theirs) {
  if (ours.length !== theirs.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let index = 0; index < ours.length; index++) {
    const difference = Math.abs(ours[index] - theirs[index]);
    if (!(difference <= largest)) largest = difference; // NaN too
  }
  return largest;
}

/** What is explained, and whether the file's own output agrees on it. */
async function targetsOf({ target, output }, model, input, folder) {
  if (target.kind === 'class') return target.classes;
  if (target.kind === 'boxes') return new FasterRCNNBoxScoreTarget(target.labels, target.boxes);
  if (target.kind === 'query') {
    const [query, category] = target.query;
    return (scores) => scores.select(0, query).select(0, category);
  }
  const given = await model.forward(input);
  const mask = categoryMask(output === null ? given : given[output], target.category);
  const expected = numbersOf(join(folder, 'mask.bin'), Float32Array);
  const different = largestDifference(mask.toTypedArray(), expected);
  if (different > 0) throw new Error('categoryMask gives another mask');
  return new SemanticSegmentationTarget(target.category, mask);
}

async function suggestionOf(model, input) {
  try {
    return await model.suggestLayer(input);
  } catch (error) {
    return { code: error.code ?? 'no code', message: error.message };
  }
}

export async function compare(made, truth, folder) {
  const { name, shape, output, layers } = made;
  const input = Tensor.from(numbersOf(join(folder, 'input.bin'), Float32Array), shape);
  const row = { ...made, differences: {}, references: {}, faults: [] };
  const models = {};
  try {
    models.float32 = await loadModel(join(folder, 'model.pt'));
    row.suggestion = await suggestionOf(models.float32, input);
    if (row.suggestion.code) {
      if (row.suggestion.code !== made.refusal) row.faults.push(row.suggestion.message);
      return row;
    }
    const { path } = row.suggestion;
    if (made.refusal || !layers.includes(path)) {
      row.faults.push(`${path} is suggested, not ${layers[0] ?? made.refusal}`);
      return row;
    }
    models.float64 = await loadModel(join(folder, 'model.pt'), { dtype: 'float64' });
    const { errors, spreads } = await truth.ask(path);
    const at = output === null ? {} : { output };
    for (const method of made.methods) {
      const expected = numbersOf(join(folder, `${method}.bin`), Float64Array);
      if (spreads[method] < leastSpread) row.faults.push(`${method}: the truth says nothing`);
      const differences = {};
      for (const [way, dtype, optimize] of [
        ['fast', 'float32', true],
        ['plain', 'float32', false],
        ['float64', 'float64', true],
      ]) {
        const model = models[dtype];
        const cam = new methods[method]({ model, optimize, ...at });
        const targets = await targetsOf(made, model, input, folder);
        const { heatmaps } = await cam.explain(input, { targets });
        differences[way] = largestDifference(heatmaps.toTypedArray(), expected);
        heatmaps.dispose();
        if (way !== 'float64' && errors[method] > largestReferenceError) {
          row.decidedByFloat64 = true;
          continue;
        }
        const allowed = way === 'float64' ? largestFloat64Error : allowedError(errors[method]);
        if (!(differences[way] <= allowed))
          row.faults.push(`${method}, ${way}: ${differences[way].toExponential(1)} from the truth`);
      }
      row.differences[method] = differences;
      row.references[method] = errors[method];
    }
  } catch (error) {
    row.faults.push(`${error.code ?? 'no code'}: ${error.message}`);
  } finally {
    await models.float32?.dispose();
    await models.float64?.dispose();
  }
  row.name = name;
  return row;
}
