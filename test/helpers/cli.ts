import { execFile } from 'node:child_process';
import type { ExecutionContext } from 'ava';
import { type RunOptions, run } from '../../lib/cli/run.js';
import { root } from './root.js';

export const program: string = `${root}dist/lib/cli/main.js`;
export const demoModel: string = `${root}examples/models/efficientnet_lite0.pt`;
export const photo: string = `${root}examples/photos/chelsea.png`;

// It adds stacks to what is printed, here and in all child processes.
delete process.env.GRADCAM_DEBUG;

export interface Run {
  readonly code: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface GradcamOptions extends RunOptions {
  /** Called with each piece of text as it is printed. */
  readonly onOutput?: (text: string) => void;
}

let isRunning = false;

/**
 * `gradcam` in this process: what it ends with, and what it prints where both streams are pipes. What native code writes is
 * not seen. One run at a time, since the working folder and the streams are the process's: in serial tests only.
 */
export async function gradcam(
  args: readonly string[],
  cwd: string = root,
  { signal, onOutput }: GradcamOptions = {},
): Promise<Run> {
  if (isRunning) throw new Error('Another run has the working folder and the streams of this process.');
  isRunning = true;
  const before = process.cwd();
  const stdout = capture(process.stdout, onOutput);
  const stderr = capture(process.stderr, onOutput);
  try {
    process.chdir(cwd);
    const code = await run(args, signal ? { signal } : {});
    return { code, stdout: stdout.text(), stderr: stderr.text() };
  } finally {
    process.chdir(before);
    stdout.restore();
    stderr.restore();
    isRunning = false;
  }
}

/** `gradcam` as people start it: a program of its own. */
export function gradcamProcess(
  args: readonly string[],
  cwd: string = root,
  { env = {}, file = program }: { readonly env?: NodeJS.ProcessEnv; readonly file?: string } = {},
): Promise<Run> {
  const options = { cwd, env: { ...process.env, ...env } };
  return new Promise((resolve) => {
    execFile(process.execPath, [file, ...args], options, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? null) : 0, stdout, stderr });
    });
  });
}

/** Takes what is written to a stream, which is no terminal meanwhile. */
function capture(
  stream: NodeJS.WriteStream,
  onOutput: (text: string) => void = () => {},
): { text: () => string; restore: () => void } {
  let text = '';
  const own = (['write', 'isTTY'] as const).map(
    (name) => [name, Object.getOwnPropertyDescriptor(stream, name)] as const,
  );
  const write = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    const piece = Buffer.from(chunk as string).toString();
    text += piece;
    onOutput(piece);
    const written = rest.at(-1);
    if (typeof written === 'function') process.nextTick(written as (error: null) => void, null);
    return true;
  };
  Object.defineProperty(stream, 'write', { value: write, configurable: true, writable: true });
  Object.defineProperty(stream, 'isTTY', { value: false, configurable: true, writable: true });
  return {
    text: () => text,
    restore: () => {
      for (const [name, descriptor] of own) {
        if (descriptor) Object.defineProperty(stream, name, descriptor);
        else delete (stream as Partial<NodeJS.WriteStream>)[name];
      }
    },
  };
}

/** Ends with that code and one clear line on standard error, without a stack. */
export async function refused(
  t: ExecutionContext,
  args: readonly string[],
  code: number,
  message: RegExp,
  cwd: string = root,
): Promise<void> {
  const run = await gradcam(args, cwd);
  t.is(run.code, code, run.stderr);
  t.regex(run.stderr, /^error: /m);
  t.regex(run.stderr, message);
  t.notRegex(run.stderr, /^ +at /m);
  t.is(run.stdout, '');
}

export function fitsColumns(t: ExecutionContext, text: string): void {
  for (const line of text.split('\n')) t.true(line.length <= 80, line);
}
