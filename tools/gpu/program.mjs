import { spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';

let current;
let interruption;

/** Why a part did not pass, as its status in the report. */
export class Ended extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// A kill of this process ends what it started too.
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const onSignal = (signal) => {
  interruption = signal;
  if (current) endGroup(current);
};

export const interrupted = () => interruption !== undefined;

/**
 * Runs a program for at most `seconds`, an hour by default; its output goes to a file.
 * @param {string[]} command
 * @param {object} how
 * @param {string} how.cwd
 * @param {NodeJS.ProcessEnv} [how.env]
 * @param {number} [how.seconds]
 * @param {string} how.logFile
 * @param {(text: string) => void} [how.onOutput] told what the program prints to standard output
 * @returns {Promise<number | null>} its exit code; null if a signal ended it
 */
export async function runProgram(
  [program, ...args],
  { cwd, env, seconds = 3600, logFile, onOutput = () => {} },
) {
  if (interruption) throw new Ended('interrupted', `by ${interruption}`);
  // A group of its own: what the program starts ends with it.
  const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  current = child;
  for (const signal of signals) process.on(signal, onSignal);
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8');
  child.stdout.on('data', (text) => {
    appendFileSync(logFile, text);
    onOutput(text);
  });
  child.stderr.on('data', (text) => appendFileSync(logFile, text));
  let late = false;
  const limit = setTimeout(() => {
    late = true;
    endGroup(child);
  }, seconds * 1000);
  try {
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (interruption) throw new Ended('interrupted', `by ${interruption}`);
    if (late) throw new Ended('timed out', `after ${Math.round(seconds)} s`);
    return code;
  } finally {
    clearTimeout(limit);
    for (const signal of signals) process.removeListener(signal, onSignal);
    current = undefined;
  }
}

function endGroup(child) {
  const kill = (signal) => {
    try {
      process.kill(-child.pid, signal);
    } catch {
      // It has ended.
    }
  };
  kill('SIGTERM');
  setTimeout(() => kill('SIGKILL'), 3000).unref();
}
