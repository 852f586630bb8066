#!/usr/bin/env node
import { run } from './run.js';
import { isReaderGone, ReaderGone } from './terminal/exit-codes.js';

const interruption = new AbortController();
process.once('SIGINT', () => interruption.abort(new Error('interrupted')));
process.stdout.on('error', (error) => {
  if (!isReaderGone(error)) throw error;
  interruption.abort(new ReaderGone('Nobody reads the output any more.'));
});
process.stderr.on('error', () => {}); // There is nobody to tell.
process.exitCode = await run(process.argv.slice(2), { signal: interruption.signal });
