#!/usr/bin/env node
import { run } from './run.js';
import { exitCodes, isReaderGone, ReaderGone } from './terminal/exit-codes.js';

const interruption = new AbortController();
process.once('SIGINT', () => interruption.abort(new Error('interrupted')));
let isGone = false;
process.stdout.on('error', (error) => {
  if (!isReaderGone(error)) throw error;
  isGone = true;
  process.exitCode = exitCodes.readerGone; // It may be known only once the run is over.
  interruption.abort(new ReaderGone('Nobody reads the output any more.'));
});
process.stderr.on('error', () => {}); // There is nobody to tell.
const code = await run(process.argv.slice(2), { signal: interruption.signal });
process.exitCode = isGone ? exitCodes.readerGone : code;
