import { setMaxListeners } from 'node:events';
import type { ExplainOptions } from '../cam/explain-arguments.js';
import type { Explanation } from '../cam/explanation.js';
import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { abortWith, checkSignal, readOptions, unlessAborted } from '../errors/options.js';
import type { ModelInput } from '../model/model.js';

/** What explains: an `Explainer`, or one of the CAM methods. */
export interface Explains {
  explain(input: ModelInput, options?: ExplainOptions): Promise<Explanation>;
}

/** What an item becomes: an input of the model, or something that holds one, as a `LoadedImage` does. */
export type Prepared = ModelInput | { readonly tensor: ModelInput };

export interface ExplainStreamOptions<Item, Input extends Prepared>
  extends Pick<
    ExplainOptions,
    'targets' | 'arguments' | 'upsample' | 'augSmooth' | 'eigenSmooth' | 'signal'
  > {
  /** Makes an item the model's input, such as `(path) => loadImage(path)`. Default: the item is one. */
  readonly prepare?: (item: Item) => Input | Promise<Input>;
  /** Most items that are prepared and explained at the same time. Default 16. */
  readonly concurrency?: number;
  /** `'yield'` gives an item that failed with its `error` and goes on; `'throw'` (the default) ends the stream. */
  readonly errors?: 'throw' | 'yield';
}

/** One item of a stream, explained. */
export interface StreamedExplanation<Item, Input> {
  /** Position in the stream, from 0. */
  readonly index: number;
  readonly item: Item;
  /** What `prepare` made of the item. */
  readonly input: Input;
  readonly explanation: Explanation;
  readonly error?: undefined;
}

/** One item that failed, where `errors` is `'yield'`. */
export interface StreamedFailure<Item> {
  readonly index: number;
  readonly item: Item;
  readonly input?: undefined;
  readonly explanation?: undefined;
  readonly error: unknown;
}

type Outcome<Item, Input> = StreamedExplanation<Item, Input> | StreamedFailure<Item>;

/**
 * Explains a stream of items, such as the frames of a video or many files: several at a time, results in the order of the
 * items, no more taken from the source than are needed. With an `Explainer` they share batches. Leaving the loop, or the
 * signal, ends it at once, also while the source or `prepare` waits for something; the source's `return()` is called then, and
 * awaited unless an item of it is still to come.
 * @param source - inputs, or anything that `options.prepare` makes one of
 * @throws what the source throws, what `prepare` and `explain` throw (unless `errors` is `'yield'`), the signal's reason
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example
 * for await (const { item, explanation } of explainStream(explainer, paths, { prepare: (path) => loadImage(path) }))
 *   console.log(item, explanation.maps[0]);
 */
export function explainStream<Item, Input extends Prepared = Item & Prepared>(
  explains: Explains,
  source: AsyncIterable<Item> | Iterable<Item>,
  options: ExplainStreamOptions<Item, Input> & { readonly errors: 'yield' },
): AsyncGenerator<Outcome<Item, Input>, void, undefined>;
export function explainStream<Item, Input extends Prepared = Item & Prepared>(
  explains: Explains,
  source: AsyncIterable<Item> | Iterable<Item>,
  options?: ExplainStreamOptions<Item, Input>,
): AsyncGenerator<StreamedExplanation<Item, Input>, void, undefined>;
export function explainStream<Item, Input extends Prepared>(
  explains: Explains,
  source: AsyncIterable<Item> | Iterable<Item>,
  options?: ExplainStreamOptions<Item, Input>,
): AsyncGenerator<Outcome<Item, Input>, void, undefined> {
  // Checked here, not at the first turn of the loop, where a mistake would surface late.
  if (typeof explains?.explain !== 'function')
    throw invalidArgumentType('explains', 'an Explainer or a CAM method', explains);
  const controller = new AbortController();
  const outcomes = stream(explains, iteratorOf(source), checkOptions(options), controller);
  // A generator ends only where it stands still: what it waits for is given up first.
  const end = outcomes.return.bind(outcomes);
  return Object.assign(outcomes, {
    return: (value: undefined) => {
      controller.abort(left);
      return end(value);
    },
  });
}

/** Why what is under way is aborted: nobody wants it any more. */
const left = Symbol('left');

async function* stream<Item, Input extends Prepared>(
  explains: Explains,
  iterator: AsyncIterator<Item> | Iterator<Item>,
  { prepare, concurrency, errors, signal, how }: CheckedOptions<Item, Input>,
  controller: AbortController,
): AsyncGenerator<Outcome<Item, Input>, void, undefined> {
  const { signal: own } = controller;
  setMaxListeners(concurrency + 10, own); // every item under way listens: no leak
  const unlink = abortWith(controller, signal);
  const begin = async (item: Item, index: number): Promise<Outcome<Item, Input>> => {
    try {
      const input = await prepare(item);
      own.throwIfAborted();
      const explanation = await explains.explain(modelInputOf(input), { ...how, signal: own });
      return { index, item, input, explanation };
    } catch (error) {
      return { index, item, error };
    }
  };

  const underWay: Promise<Outcome<Item, Input>>[] = [];
  let pulling: Promise<IteratorResult<Item>> | undefined;
  let index = 0;
  let ended = false;
  try {
    while (true) {
      while (!ended && underWay.length < concurrency) {
        pulling ??= Promise.resolve(iterator.next());
        // A slow source must not hold back a result that is ready.
        const oldest = underWay[0];
        const item = pulling;
        if (oldest) {
          const isReady = Promise.race([oldest.then(() => true), item.then(() => false)]);
          if (await unlessAborted(own, () => isReady)) break;
        }
        const next = await unlessAborted(own, () => item);
        pulling = undefined;
        if (next.done) ended = true;
        else underWay.push(begin(next.value, index++));
      }
      const [oldest] = underWay;
      if (!oldest) return;
      const outcome = await unlessAborted(own, () => oldest);
      own.throwIfAborted();
      underWay.shift();
      if (outcome.error !== undefined && errors === 'throw') throw outcome.error;
      yield outcome;
    }
  } catch (error) {
    if (error !== left) throw error;
  } finally {
    unlink();
    controller.abort(left);
    for (const outcome of underWay) outcome.then(({ explanation }) => explanation?.dispose());
    if (!ended) await close(iterator, pulling);
  }
}

/** Tells the source that no more is taken. A generator that is still to give an item ends behind it, which may never come. */
async function close<Item>(
  iterator: AsyncIterator<Item> | Iterator<Item>,
  pulling: Promise<unknown> | undefined,
): Promise<void> {
  const closing = (async () => await iterator.return?.())();
  if (pulling === undefined) await closing;
  else for (const late of [pulling, closing]) late.catch(() => {});
}

function modelInputOf(input: Prepared): ModelInput {
  const holder = input as { readonly tensor?: ModelInput };
  return typeof input === 'object' && input !== null && holder.tensor !== undefined
    ? holder.tensor
    : (input as ModelInput);
}

function iteratorOf<Item>(source: AsyncIterable<Item> | Iterable<Item>) {
  const { [Symbol.asyncIterator]: startAsync, [Symbol.iterator]: start } = Object(
    source,
  ) as AsyncIterable<Item> & Iterable<Item>;
  if (typeof startAsync === 'function') return startAsync.call(source);
  if (typeof start === 'function' && typeof source !== 'string') return start.call(source);
  throw invalidArgumentType('source', 'an iterable or async iterable', source);
}

interface CheckedOptions<Item, Input> {
  readonly prepare: (item: Item) => Input | Promise<Input>;
  readonly concurrency: number;
  readonly errors: 'throw' | 'yield';
  readonly signal: AbortSignal | undefined;
  readonly how: ExplainOptions;
}

function checkOptions<Item, Input extends Prepared>(
  options: ExplainStreamOptions<Item, Input> | undefined,
): CheckedOptions<Item, Input> {
  const { prepare, concurrency, errors, signal, ...how } = readOptions<ExplainStreamOptions<Item, Input>>(
    'explainStream options',
    options,
    [
      'prepare',
      'concurrency',
      'errors',
      'targets',
      'arguments',
      'upsample',
      'augSmooth',
      'eigenSmooth',
      'signal',
    ],
  );
  if (prepare !== undefined && typeof prepare !== 'function')
    throw invalidArgumentType('prepare', 'a function', prepare);
  if (
    concurrency !== undefined &&
    (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 65_536)
  )
    throw argumentOutOfRange('concurrency', 'an integer from 1 to 65536', concurrency);
  if (errors !== undefined && errors !== 'throw' && errors !== 'yield')
    throw invalidArgumentType('errors', "'throw' or 'yield'", errors);
  return {
    prepare: prepare ?? ((item) => item as unknown as Input),
    concurrency: concurrency ?? 16,
    errors: errors ?? 'throw',
    signal: checkSignal(signal),
    how,
  };
}
