import { Command, CommanderError } from 'commander';
import { packageVersion } from '../addon/package-version.js';
import { attributeCommand } from './commands/attribute.js';
import { batchCommand } from './commands/batch.js';
import { clipCommand } from './commands/clip.js';
import { convertCommand } from './commands/convert.js';
import { doctorCommand } from './commands/doctor.js';
import { evaluateCommand } from './commands/evaluate.js';
import { explainCommand } from './commands/explain.js';
import { factorizeCommand } from './commands/factorize.js';
import { initSidecarCommand } from './commands/init-sidecar.js';
import { layersCommand } from './commands/layers.js';
import { serveCommand } from './commands/serve.js';
import {
  exitCodeOf,
  exitCodes,
  exitCodesHelp,
  isReaderGone,
  reportError,
  SomeImagesFailed,
} from './terminal/exit-codes.js';

export interface RunOptions {
  /** Interrupts the run, as Ctrl-C does. */
  readonly signal?: AbortSignal;
}

/**
 * Runs a command line and resolves to the exit code; it never rejects. Output and errors go to this process's standard
 * output and standard error. May be called again and again, one run at a time: a run leaves nothing behind in the process.
 */
export async function run(
  argv: readonly string[],
  { signal = new AbortController().signal }: RunOptions = {},
): Promise<number> {
  try {
    await createProgram(signal).parseAsync(argv, { from: 'user' });
    return isReaderGone(signal.reason) ? exitCodes.readerGone : exitCodes.ok;
  } catch (error) {
    if (isReaderGone(error) || isReaderGone(signal.reason)) return exitCodes.readerGone;
    if (error instanceof SomeImagesFailed) return exitCodes.someImagesFailed;
    if (signal.aborted) {
      console.error('interrupted');
      return exitCodes.interrupted;
    }
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.wrongUsage;
    reportError(error);
    return exitCodeOf(error);
  }
}

/** A new one for each run, since commander keeps the options of the last. */
function createProgram(signal: AbortSignal): Command {
  const program = new Command('gradcam')
    .description(
      'Shows where a PyTorch vision model looks: Grad-CAM heatmaps for the .pt2 and .pt files you serve.',
    )
    .version(packageVersion)
    .showHelpAfterError('(add --help for the options)')
    .showSuggestionAfterError()
    .exitOverride()
    .addHelpText(
      'after',
      `
Examples:
  gradcam explain model.pt cat.jpg                  heat over the picture
  gradcam explain model.pt photos/ -o out/ --top 3  three classes for each photo
  gradcam explain model.pt cat.jpg -m layercam      another method
  gradcam explain model.pt cat.jpg --original       heat over the whole photo
  curl -s URL | gradcam explain model.pt - -o - >heat.png
  gradcam clip RN50.pt cat.jpg "the cat" "a sofa"   where is what texts say?
  gradcam attribute model.pt cat.jpg                which pixels speak for it?
  gradcam factorize model.pt cat.jpg -k 5           what does a layer see?
  gradcam evaluate model.pt photos/                 which method is best here?
  gradcam layers model.pt --input-size 224          the layers to choose from
  gradcam init-sidecar model.pt --labels names.txt  describe the model
  gradcam serve -m model.pt                         over HTTP, with a page
  gradcam batch run model.pt photos/ -o out/        very many photos
  gradcam convert model.pt2 model.pt                the same as TorchScript
  gradcam doctor                                    is everything in place?`,
    )
    .addHelpText('afterAll', exitCodesHelp);
  for (const command of [
    explainCommand(signal),
    clipCommand(signal),
    attributeCommand(signal),
    factorizeCommand(signal),
    evaluateCommand(signal),
    layersCommand(signal),
    initSidecarCommand(signal),
    serveCommand(signal),
    batchCommand(signal),
    convertCommand(signal),
    doctorCommand(),
  ]) {
    program.addCommand(command.copyInheritedSettings(program));
    for (const part of command.commands) part.copyInheritedSettings(program);
  }
  return program;
}
