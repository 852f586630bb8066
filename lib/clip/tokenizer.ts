import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { packageRoot } from '../addon/addon.js';
import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';
import { Tensor } from '../tensor/tensor.js';
import { cleanText } from './clean-text.js';

export interface TokenizeOptions {
  /** Tokens of each row, those for start and end included. Default 77. */
  readonly contextLength?: number;
  /** Cut what is too long, instead of refusing it. Default false. */
  readonly truncate?: boolean;
}

interface Vocabulary {
  readonly ids: ReadonlyMap<string, number>;
  /** Of a pair of symbols, with a space between them, its place among the merges: the first is made first. */
  readonly ranks: ReadonlyMap<string, number>;
}

const startOfText = '<|startoftext|>';
const endOfText = '<|endoftext|>';
const endOfWord = '</w>';
/** What is one word before it is cut into symbols; the text is in lower case. */
const words = /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/gu;
/** A mark that is a letter where case does not count: between CLIP's two kinds of words it is lost. */
const iotaSubscript = '\u0345';
const longestPrompt = 10_000;

/** Each byte as a printable character: the symbols that the merges start from. In the order of their ids. */
const byteSymbols: readonly (readonly [byte: number, symbol: string])[] = (() => {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const others = bytes.filter((byte) => !printable(byte));
  return [
    ...bytes.filter(printable).map((byte) => [byte, String.fromCharCode(byte)] as const),
    ...others.map((byte, index) => [byte, String.fromCharCode(256 + index)] as const),
  ];
})();
const symbolOfByte = new Map(byteSymbols);

let loaded: Vocabulary | undefined;

function vocabulary(): Vocabulary {
  loaded ??= readVocabulary();
  return loaded;
}

function readVocabulary(): Vocabulary {
  const file = readFileSync(join(packageRoot, 'lib', 'clip', 'vocabulary.txt.gz'));
  const merges = gunzipSync(file).toString('utf8').split('\n');
  const symbols = byteSymbols.map(([, symbol]) => symbol);
  const all = [
    ...symbols,
    ...symbols.map((symbol) => symbol + endOfWord),
    ...merges.map((merge) => merge.replace(' ', '')),
    startOfText,
    endOfText,
  ];
  return {
    ids: new Map(all.map((symbol, id) => [symbol, id])),
    ranks: new Map(merges.map((merge, rank) => [merge, rank])),
  };
}

/**
 * CLIP's byte-pair tokenizer (R. Sennrich et al. 2016; A. Radford et al. 2021): 49,408 tokens, lower case. Gives the ids
 * of OpenAI's `clip.tokenize` and of open_clip. The vocabulary is read at the first use, which takes some 50 ms.
 */
export class ClipTokenizer {
  /** Tokens there are; the last two are the start and the end of a text. */
  static readonly vocabularySize = 49_408;

  /**
   * The ids of a text, without those for start and end.
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` for more than 10,000 characters
   */
  encode(text: string): number[] {
    if (typeof text !== 'string') throw invalidArgumentType('text', 'a string', text);
    if (text.length > longestPrompt)
      throw argumentOutOfRange(
        'text',
        `at most ${longestPrompt} characters`,
        `a string of ${text.length} characters`,
      );
    const { ids } = vocabulary();
    return (cleanText(text).replaceAll(iotaSubscript, ' ').match(words) ?? []).flatMap((word) =>
      symbolsOf(word).map((symbol) => ids.get(symbol) as number),
    );
  }

  /**
   * The texts as a model takes them: int64 `[texts, contextLength]`, each with its start and end, then zeros.
   * @throws {GradCamError} `ERR_PROMPT_TOO_LONG`
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
   */
  tokenize(texts: string | readonly string[], options?: TokenizeOptions): Tensor {
    const given = readOptions<TokenizeOptions>('tokenize options', options, ['contextLength', 'truncate']);
    const { contextLength = 77, truncate = false } = given;
    if (!Number.isInteger(contextLength) || contextLength < 2 || contextLength > 65_536)
      throw argumentOutOfRange('contextLength', 'an integer from 2 to 65536', contextLength);
    if (typeof truncate !== 'boolean') throw invalidArgumentType('truncate', 'true or false', truncate);
    const list = typeof texts === 'string' ? [texts] : texts;
    if (!Array.isArray(list) || list.length === 0)
      throw invalidArgumentType('texts', 'a string or several', texts);
    const rows = new BigInt64Array(list.length * contextLength);
    for (const [row, text] of list.entries()) {
      const ids = this.encode(text);
      if (ids.length > contextLength - 2 && !truncate) throw tooLong(text, ids.length, contextLength - 2);
      const start = ClipTokenizer.vocabularySize - 2;
      const whole = [start, ...ids.slice(0, contextLength - 2), start + 1];
      rows.set(whole.map(BigInt), row * contextLength);
    }
    return Tensor.from(rows, [list.length, contextLength]);
  }
}

/** A word cut into symbols of the vocabulary: its bytes, joined pair by pair in the order of the merges. */
function symbolsOf(word: string): string[] {
  if (word === startOfText || word === endOfText) return [word];
  const { ranks } = vocabulary();
  let symbols = [...Buffer.from(word, 'utf8')].map((byte) => symbolOfByte.get(byte) as string);
  symbols.push(symbols.pop() + endOfWord);
  while (symbols.length > 1) {
    let first = Number.POSITIVE_INFINITY;
    for (let index = 0; index + 1 < symbols.length; index++)
      first = Math.min(first, ranks.get(`${symbols[index]} ${symbols[index + 1]}`) ?? first);
    if (first === Number.POSITIVE_INFINITY) break;
    const joined: string[] = [];
    for (let index = 0; index < symbols.length; index++) {
      const symbol = symbols[index] as string;
      const next = symbols[index + 1];
      const isPair = next !== undefined && ranks.get(`${symbol} ${next}`) === first;
      joined.push(isPair ? symbol + next : symbol);
      if (isPair) index++;
    }
    symbols = joined;
  }
  return symbols;
}

function tooLong(text: string, length: number, most: number): GradCamError {
  const shown = text.length > 60 ? `${text.slice(0, 57)}...` : text;
  return new GradCamError(
    'ERR_PROMPT_TOO_LONG',
    `The prompt '${shown}' has ${length} tokens, and the model takes ${most}. Shorten it, or let it be cut with the option truncate.`,
  );
}
