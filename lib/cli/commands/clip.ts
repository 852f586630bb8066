import { Command, Option } from 'commander';
import { type MapStatistics, percent, statisticsOf } from '../../cam/explanation-report.js';
import {
  checkMethodChoice,
  type MethodName,
  type MethodOptions,
  methodNames,
} from '../../cam/methods/registry.js';
import { ClipExplainer } from '../../clip/explainer.js';
import type { ClipExplanation } from '../../clip/explanation.js';
import { type Device, loadModel } from '../../model/load-model.js';
import { spellLayer } from '../../model/target-layers.js';
import { encodeMaps } from '../../visualization/map-files.js';
import { collect } from '../options/arguments.js';
import { addDrawingOptions, checkDrawing, type DrawingFlags } from '../options/drawing.js';
import { methodOption } from '../options/explain.js';
import {
  findImage,
  outputFiles,
  readImage,
  resultsHelp,
  standardStream,
  writeResult,
} from '../options/image-files.js';
import { eachImage, finish } from '../terminal/each-image.js';
import { ProgressReporter } from '../terminal/progress.js';

interface ClipFlags extends DrawingFlags {
  readonly layer?: string[];
  readonly method?: MethodName;
  readonly option?: MethodOptions;
  readonly similarity: 'dot' | 'cosine';
  readonly truncate?: boolean;
  readonly output?: string;
  readonly json?: boolean;
  readonly device: string;
}

/** What is told of one prompt; this is also the JSON. */
interface PromptReport {
  readonly prompt: string;
  /** Cosine, -1 to 1. */
  readonly similarity: number;
  /** Among the prompts given, 0 to 1. */
  readonly probability: number;
  readonly score: number;
  readonly hasPositiveEvidence: boolean;
  readonly map: MapStatistics;
}

export function clipCommand(signal: AbortSignal): Command {
  const command = new Command('clip')
    .summary('draw heat for what texts say')
    .description(
      "Draws heatmaps of where an image shows what texts say, with a CLIP: OpenAI's TorchScript archives, or an " +
        'export with the methods encode_image and encode_text. The picture stands left, then each text.',
    )
    .argument('<model>', 'TorchScript file (.pt) of a CLIP')
    .argument('<image>', 'image file; - for standard input')
    .argument('<texts...>', 'what to look for: "a cat" "a dog"')
    .option('-l, --layer <path>', 'target layer; several are averaged; default: visual.layer4', collect)
    .addOption(
      new Option('-m, --method <name>', 'how; default: gradcam for ResNets, legrad for ViTs').choices(
        methodNames,
      ),
    )
    .addOption(methodOption())
    .addOption(
      new Option(
        '-s, --similarity <kind>',
        'what is explained: the dot product of the embeddings or their cosine',
      )
        .choices(['dot', 'cosine'])
        .default('dot'),
    )
    .option('--truncate', 'cut texts that are too long, instead of refusing them')
    .option('-o, --output <path>', resultsHelp)
    .option('--json', 'print JSON instead of text')
    .option('--device <device>', "'cpu', 'cuda', 'cuda:N' or 'auto'", 'cpu')
    .addHelpText(
      'after',
      `
Example:
  gradcam clip RN50.pt photo.jpg "the cat" "the sofa"`,
    );
  return addDrawingOptions(command, { style: 'attention' }).action(
    async (modelPath: string, image: string, texts: string[], flags: ClipFlags) => {
      checkDrawing(flags, flags.output, command);
      await explainTexts(modelPath, image, texts, flags, signal);
    },
  );
}

async function explainTexts(
  modelPath: string,
  imagePath: string,
  texts: readonly string[],
  flags: ClipFlags,
  signal: AbortSignal,
): Promise<void> {
  if (flags.method !== undefined) checkMethodChoice({ method: flags.method, options: flags.option });
  const image = await findImage(imagePath);
  const [output = ''] = outputFiles([image], flags.output, flags);
  await using model = await loadModel(modelPath, { device: flags.device as Device, signal });
  const clip = new ClipExplainer({
    model,
    ...(flags.layer ? { targetLayers: flags.layer } : {}),
    ...(flags.method ? { method: flags.method } : {}),
    ...(flags.option ? { options: flags.option } : {}),
  });
  const told = flags.output === standardStream ? 'stderr' : 'stdout';
  const progress = new ProgressReporter(1, { json: flags.json ?? false, told });
  const outcomes = await eachImage([image], { progress, signal }, async (path) => {
    const loaded = await readImage(path, clip.imageOptions, signal);
    using explanation = await clip.explain(loaded.tensor, texts, {
      similarity: flags.similarity,
      truncate: flags.truncate ?? false,
      signal,
    });
    const reports = reportsOf(explanation);
    // The figure first: of a long text the end is cut off.
    const captions = reports.map((report) => `${figureOf(report, reports.length)} ${report.prompt}`);
    await writeResult(output, flags.format, (format) =>
      encodeMaps(loaded, explanation, captions, flags, format, { beside: true }),
    );
    const { layers, timings } = explanation;
    progress.advance(...linesOf(path, output, layers, reports));
    return { output, layers, texts: reports, timings };
  });
  const [done] = outcomes.done;
  const [failed] = outcomes.failed;
  const report = { model: modelPath, image, ...done, ...(failed ? { error: failed.error } : {}) };
  finish(outcomes, flags.json ? report : null);
}

function linesOf(
  path: string,
  output: string,
  layers: ClipExplanation['layers'],
  reports: readonly PromptReport[],
): string[] {
  const lines = [...layers.map((layer) => `Layer ${spellLayer(layer.path, layer.output)}`), '', path];
  if (reports.length > 1) lines.push('  of these  cosine');
  for (const report of reports) {
    const empty = report.hasPositiveEvidence ? '' : ': nothing speaks for it, the map is empty';
    const share = reports.length > 1 ? `${percent(report.probability).padStart(10)}` : '  cosine';
    lines.push(`${share}${report.similarity.toFixed(3).padStart(8)}  ${report.prompt}${empty}`);
  }
  return [...lines, `  written: ${output}`];
}

function reportsOf({
  maps,
  heatmaps,
  prompts,
  similarities,
  probabilities,
}: ClipExplanation): PromptReport[] {
  return maps.map(({ targetIndex, score, hasPositiveEvidence }, index) => ({
    prompt: prompts[targetIndex] as string,
    similarity: similarities[0]?.[targetIndex] as number,
    probability: probabilities[0]?.[targetIndex] as number,
    score,
    hasPositiveEvidence,
    map: statisticsOf(heatmaps.at(index)),
  }));
}

/** Of one text alone the share says nothing. */
function figureOf({ similarity, probability }: PromptReport, texts: number): string {
  return texts > 1 ? percent(probability) : similarity.toFixed(2);
}
