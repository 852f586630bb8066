#!/usr/bin/env node
import { run } from './run.js';

const interruption = new AbortController();
process.once('SIGINT', () => interruption.abort(new Error('interrupted')));
process.exitCode = await run(process.argv.slice(2), { signal: interruption.signal });
