import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * The lines of a stream of UTF-8, without their ends. Only line feeds end them: a file's name may hold the other characters
 * that a text might take for one.
 * @internal
 */
export async function* linesOf(stream: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const bytes of stream) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  rest += decoder.decode();
  if (rest !== '') yield rest;
}

/** Characters that are gathered before they are written. */
const gathered = 1 << 16;

/**
 * Lines put aside in a temporary file, so that very many need no memory, and read again from the first.
 * @internal
 */
export class LinesAside implements AsyncDisposable {
  readonly #folder: string;
  readonly #file: FileHandle;
  #waiting = '';

  private constructor(folder: string, file: FileHandle) {
    this.#folder = folder;
    this.#file = file;
  }

  static async open(): Promise<LinesAside> {
    const folder = await mkdtemp(join(tmpdir(), 'gradcam-'));
    return new LinesAside(folder, await open(join(folder, randomBytes(4).toString('hex')), 'wx+', 0o600));
  }

  /** Puts a line aside; it holds no line feed. */
  async add(line: string): Promise<void> {
    this.#waiting += `${line}\n`;
    if (this.#waiting.length >= gathered) await this.#write();
  }

  async *lines(): AsyncGenerator<string> {
    await this.#write();
    yield* linesOf(this.#file.createReadStream({ start: 0, autoClose: false }));
  }

  async #write(): Promise<void> {
    const text = this.#waiting;
    this.#waiting = '';
    await this.#file.appendFile(text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
