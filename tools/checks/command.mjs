import { Command, InvalidArgumentError } from 'commander';

/** A program of `npm run`: its help, and 2 as the exit code of wrong options. */
export function commandOf(script, description) {
  return new Command(`npm run ${script} --`)
    .description(description)
    .showHelpAfterError()
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2));
}

export function parseWhole(text) {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}
