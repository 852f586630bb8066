import { type Command, Option } from 'commander';
import { UsageError } from '../../errors/usage-error.js';
import { readTextFile } from '../../files/text-file.js';

/** The library of batches is loaded by the commands that use it, not by every command. */
export const batchLibrary = () => import('../../batch/index.js');

/** Which queue, as the command line says it. */
export interface QueueFlags {
  readonly redis: string;
  readonly queue: string;
  readonly secretFile?: string;
}

/** Adds the options that say which queue. */
export function withQueue(command: Command): Command {
  return command
    .addOption(
      new Option('--redis <url>', 'where the queue is; rediss:// for TLS')
        .env('REDIS_URL')
        .default('redis://127.0.0.1:6379'),
    )
    .option('--queue <name>', 'workers take the work of one queue', 'gradcam');
}

/** Adds the option that names the file of the secret. The secret itself would be seen by all who list the processes. */
export function addSecretOption(command: Command, what: string): Command {
  return command.option('--secret-file <file>', `${what}; or GRADCAM_BATCH_SECRET`);
}

/** What chunks are signed with: the file's text without the white space around it, or else the environment's. */
export async function readSecret({ secretFile }: QueueFlags): Promise<string | undefined> {
  if (secretFile === undefined) return process.env.GRADCAM_BATCH_SECRET || undefined;
  try {
    return (await readTextFile(secretFile)).trim();
  } catch (cause) {
    throw new UsageError(`Cannot read the secret '${secretFile}': ${(cause as Error).message}.`);
  }
}
