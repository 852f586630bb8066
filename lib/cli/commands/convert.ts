import { Command } from 'commander';
import { GradCamError } from '../../errors/errors.js';
import { UsageError } from '../../errors/usage-error.js';
import { convertModel } from '../../model/convert-model.js';

interface ConvertFlags {
  readonly force?: boolean;
}

export function convertCommand(signal: AbortSignal): Command {
  return new Command('convert')
    .summary('write TorchScript of a .pt2 file')
    .description(
      'Writes an exported program as a TorchScript file with the same layers, weights and results, for Triton, C++ and older ' +
        'PyTorch. Its sidecar (model.json) serves both.',
    )
    .argument('<model>', 'exported program (.pt2)')
    .argument('<file>', 'TorchScript file to write (.pt)')
    .option('--force', 'overwrite a file that is there')
    .action(async (model: string, file: string, { force = false }: ConvertFlags) => {
      await convert(model, file, force, signal);
      console.log(file);
    });
}

async function convert(model: string, file: string, overwrite: boolean, signal: AbortSignal): Promise<void> {
  try {
    await convertModel(model, file, { overwrite, signal });
  } catch (error) {
    const { code, syscall, message } = error as NodeJS.ErrnoException;
    if (error instanceof GradCamError || syscall === undefined) throw error;
    if (code === 'EEXIST') throw new UsageError(`There is '${file}' already; --force overwrites it.`);
    throw new UsageError(`Cannot write '${file}': ${message}`);
  }
}
