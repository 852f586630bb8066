#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { packageVersion } from '../package-version.js';
import { attributeCommand } from './attribute-command.js';
import { batchCommand } from './batch-command.js';
import { clipCommand } from './clip-command.js';
import { doctorCommand } from './doctor-command.js';
import { evaluateCommand } from './evaluate-command.js';
import { exitCodeOf, exitCodes, exitCodesHelp, reportError } from './exit-codes.js';
import { explainCommand } from './explain-command.js';
import { factorizeCommand } from './factorize-command.js';
import { initSidecarCommand } from './init-sidecar-command.js';
import { layersCommand } from './layers-command.js';
import { serveCommand } from './serve-command.js';

const interruption = new AbortController();
process.once('SIGINT', () => interruption.abort(new Error('interrupted')));

const program = new Command('gradcam')
  .description('Shows where a TorchScript vision model looks: Grad-CAM heatmaps for the .pt files you serve.')
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
  gradcam clip RN50.pt cat.jpg "the cat" "a sofa"   where is what texts say?
  gradcam attribute model.pt cat.jpg                which pixels speak for it?
  gradcam factorize model.pt cat.jpg -k 5           what does a layer see?
  gradcam evaluate model.pt photos/                 which method is best here?
  gradcam layers model.pt --input-size 224          the layers to choose from
  gradcam init-sidecar model.pt --labels names.txt  describe the model
  gradcam serve -m model.pt                         over HTTP, with a page
  gradcam batch submit model.pt photos/ -o out/     a job for many workers
  gradcam doctor                                    is everything in place?`,
  )
  .addHelpText('afterAll', exitCodesHelp);
for (const command of [
  explainCommand(interruption.signal),
  clipCommand(interruption.signal),
  attributeCommand(interruption.signal),
  factorizeCommand(interruption.signal),
  evaluateCommand(interruption.signal),
  layersCommand(interruption.signal),
  initSidecarCommand(interruption.signal),
  serveCommand(),
  batchCommand(interruption.signal),
  doctorCommand(),
]) {
  program.addCommand(command.copyInheritedSettings(program));
  for (const part of command.commands) part.copyInheritedSettings(program);
}

try {
  await program.parseAsync();
} catch (error) {
  if (interruption.signal.aborted) {
    console.error('interrupted');
    process.exitCode = exitCodes.interrupted;
  } else if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.wrongUsage;
  } else {
    reportError(error);
    process.exitCode = exitCodeOf(error);
  }
}
