import { GradCamError } from '../errors/errors.js';
import type { Model } from '../model/model.js';
import { Tensor } from '../tensor/tensor.js';
import { textMethod } from './archive.js';
import { ClipTokenizer, type TokenizeOptions } from './tokenizer.js';

const keptPrompts = 4096;
const promptsOfOneRun = 64;

/** @internal The embeddings of prompts as the model gives them, those used last kept. */
export class TextEmbeddings {
  readonly #model: Model;
  readonly #tokenizer = new ClipTokenizer();
  /** By prompt; the least recently used comes first. */
  readonly #kept = new Map<string, Float32Array>();

  constructor(model: Model) {
    this.#model = model;
  }

  /** One for each prompt, of unknown prompts from one run of the text encoder. */
  async of(
    prompts: readonly string[],
    options: Required<TokenizeOptions>,
    signal: AbortSignal | undefined,
  ): Promise<Float32Array[]> {
    const found = new Map<string, Float32Array>();
    for (const prompt of prompts) {
      const kept = this.#kept.get(prompt);
      if (kept) found.set(prompt, kept);
    }
    const missing = [...new Set(prompts)].filter((prompt) => !found.has(prompt));
    for (let start = 0; start < missing.length; start += promptsOfOneRun) {
      const some = missing.slice(start, start + promptsOfOneRun);
      const rows = await this.#encode(this.#tokenizer.tokenize(some, options), signal);
      for (const [index, prompt] of some.entries()) found.set(prompt, rows[index] as Float32Array);
    }
    for (const [prompt, embedding] of found) this.#keep(prompt, embedding);
    return prompts.map((prompt) => found.get(prompt) as Float32Array);
  }

  async #encode(tokens: Tensor, signal: AbortSignal | undefined): Promise<Float32Array[]> {
    using _ = tokens;
    const output = await this.#model.forward(tokens, {
      modelMethod: textMethod,
      ...(signal ? { signal } : {}),
    });
    if (!(output instanceof Tensor) || output.shape.length !== 2 || output.shape[0] !== tokens.shape[0])
      throw new GradCamError('ERR_OUTPUT_SHAPE', `${textMethod} must give one embedding for each text.`);
    using embeddings = output;
    const values = Float32Array.from(embeddings.toTypedArray() as Float32Array);
    const length = embeddings.shape[1] ?? 0;
    return Array.from({ length: tokens.shape[0] ?? 0 }, (_unused, row) =>
      values.slice(row * length, (row + 1) * length),
    );
  }

  #keep(prompt: string, embedding: Float32Array): void {
    this.#kept.delete(prompt);
    this.#kept.set(prompt, embedding);
    if (this.#kept.size > keptPrompts) this.#kept.delete(this.#kept.keys().next().value as string);
  }
}
