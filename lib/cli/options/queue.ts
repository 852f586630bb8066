import { type Command, Option } from 'commander';

/** BullMQ is loaded by the commands that use it, not by every command. */
export const batchLibrary = () => import('../../batch/index.js');

/** Which queue, as the command line says it. */
export interface QueueFlags {
  readonly redis: string;
  readonly queue: string;
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
