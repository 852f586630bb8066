import { setMaxListeners } from 'node:events';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Explanation } from '../../cam/explanation.js';
import { GradCamError } from '../../errors/errors.js';
import { isRasterPicture, unreadableKind } from '../../image/picture-kinds.js';
import type { ModelArguments } from '../../model/arguments.js';
import type { ModelOutput } from '../../model/output.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { CheckedServerOptions } from '../configuration/options.js';
import type { ModelRegistry } from '../models/registry.js';
import type { ExplainChoice, ServedModel } from '../models/served-model.js';
import type { AskedImage, ChosenTargets } from '../targets/choice.js';
import { chooseTargets } from '../targets/choose-targets.js';
import type { DrawingTask } from '../workers/tasks.js';
import type { ClientPicture, Workers } from '../workers/workers.js';
import type { AdmissionGate, Ticket } from './admission.js';
import type { FailureReason, ServerMetrics, Stage } from './metrics.js';
import { type Trace, traceRequest } from './tracing.js';

/** What a request that computes holds from before its body is read. */
export interface Admission {
  readonly model: ServedModel;
  readonly ticket: Ticket;
  /** Lets go of the model; the work holds it by then, or there will be none. */
  readonly leaveModel: () => void;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Null for requests that compute nothing. */
    gradcamAdmission: Admission | null;
  }
  interface FastifyContextConfig {
    /** The route runs a model: it needs room in the queue. */
    computes?: boolean;
  }
}

/** Who asked, whatever carries the request. */
export interface Asker {
  /** Milliseconds since the request came. */
  readonly elapsed: number;
  /** Aborted when the client has gone. */
  readonly gone: AbortSignal;
  /** Of the request, or the metadata of a call: they may hold a `traceparent`. */
  readonly headers: Readonly<Record<string, unknown>>;
}

/** One request to a model, from the parsed body to the answer: its model, its deadline, its times. */
export interface Call {
  readonly model: ServedModel;
  /** Aborted at the deadline, and when the client has gone. */
  readonly signal: AbortSignal;
  /** How many maps (predictions: images) are asked for in all, once it is known. */
  readonly setMaps: Ticket['setMaps'];
  /** Sets memory aside for what the request needs: before it is computed, where that can be told. */
  readonly reserve: Ticket['reserve'];
  /**
   * The parts of the request at once. When one fails, the others are given up, and the failure is told when all have ended.
   * @param release - of the parts that went well, where one did not
   */
  each<T, R>(
    parts: readonly T[],
    work: (part: T, index: number) => Promise<R>,
    release?: (result: R) => void,
  ): Promise<R[]>;
  decode(bytes: Uint8Array): Promise<ClientPicture>;
  draw(task: DrawingTask): Promise<Buffer>;
  /** The answer as JSON, with `AnswerNumbers` in it. */
  writeJson(answer: unknown): Promise<Buffer>;
  explain(input: Tensor | readonly Tensor[], choice: ExplainChoice): Promise<Explanation>;
  predict(input: Tensor | readonly Tensor[], given: ModelArguments | undefined): Promise<ModelOutput>;
  /** What to explain of each image, as it is asked for. */
  choose(
    input: readonly Tensor[],
    images: readonly AskedImage[],
    given: ModelArguments | undefined,
  ): Promise<ChosenTargets[]>;
  /** Runs a stage and takes its time. */
  stage<T>(name: 'preprocess' | 'postprocess', work: () => Promise<T> | T): Promise<T>;
  /** Milliseconds since the request came. */
  readonly elapsed: number;
}

/** Runs the calls of all protocols: one queue, one way to count and to give up. */
export class CallRunner {
  readonly #models: ModelRegistry;
  readonly #gate: AdmissionGate;
  readonly #metrics: ServerMetrics;
  readonly #options: CheckedServerOptions;
  readonly #workers: Workers;
  readonly #receiving = new WeakMap<FastifyRequest, NodeJS.Timeout>();

  constructor(
    models: ModelRegistry,
    gate: AdmissionGate,
    metrics: ServerMetrics,
    options: CheckedServerOptions,
    workers: Workers,
  ) {
    this.#models = models;
    this.#gate = gate;
    this.#metrics = metrics;
    this.#options = options;
    this.#workers = workers;
  }

  /**
   * Before the body is read: is there such a model, and room? The length that the client announced is set aside, or the
   * most allowed. Whoever is let in has the model until the answer, even if it is unloaded or loaded anew meanwhile.
   * @throws {GradCamError} `ERR_UNKNOWN_MODEL`, `ERR_MODEL_NOT_READY`, `ERR_BUSY`
   */
  admit(request: FastifyRequest, reply: FastifyReply): void {
    if (request.routeOptions.config.computes !== true) return;
    const { model: name, version } = request.params as { model: string; version?: string };
    const model = this.#models.get(name, version);
    const { 'content-length': length, 'content-encoding': encoding = 'identity' } = request.headers;
    // What a compressed body becomes is not announced.
    const announced = encoding === 'identity' ? Number(length) : Number.NaN;
    const bytes = Number.isFinite(announced) ? announced : this.#options.maxBodyBytes;
    let ticket: Ticket;
    try {
      ticket = this.#gate.enter(Math.min(bytes, this.#options.maxBodyBytes));
    } catch (error) {
      this.#metrics.failed({ model: model.name, version: model.version }, 'REJECTED', reply.elapsedTime);
      throw error;
    }
    const leaveModel = model.use();
    // Node gives up on a body that trickles in where it was told to, but not any more once the server closes.
    const late = setTimeout(() => giveUpBody(request, reply), this.#options.deadlineMs + 3000).unref();
    this.#receiving.set(request, late);
    request.gradcamAdmission = { model, ticket, leaveModel };
    reply.raw.once('close', () => {
      clearTimeout(late);
      ticket.leave();
      leaveModel();
    });
  }

  /** As {@link runAdmitted}, for a request over HTTP that {@link admit} let in. */
  async run<T>(
    request: FastifyRequest,
    reply: FastifyReply,
    deadlineMs: number | undefined,
    work: (call: Call) => Promise<T>,
  ): Promise<T> {
    clearTimeout(this.#receiving.get(request));
    const admission = request.gradcamAdmission;
    if (!admission) throw new GradCamError('ERR_INTERNAL', `${request.url} runs without being admitted.`);
    const gone = new AbortController();
    const onClose = () => gone.abort();
    if (reply.raw.destroyed) onClose();
    else reply.raw.once('close', onClose);
    const asker = {
      gone: gone.signal,
      headers: request.headers,
      get elapsed() {
        return reply.elapsedTime;
      },
    };
    try {
      return await this.runAdmitted(admission, asker, deadlineMs, work);
    } finally {
      reply.raw.removeListener('close', onClose);
    }
  }

  /**
   * Runs what an admitted request asks for.
   * @param deadlineMs - the request's own; undefined: the server's
   * @throws {GradCamError} `ERR_DEADLINE_EXCEEDED`, `ERR_CLIENT_GONE`, `ERR_BUSY`, and what `work` throws
   */
  async runAdmitted<T>(
    { model, ticket, leaveModel }: Admission,
    asker: Asker,
    deadlineMs: number | undefined,
    work: (call: Call) => Promise<T>,
  ): Promise<T> {
    const leaveQueue = ticket.stay();
    const letGo = model.use();
    const leave = () => {
      letGo();
      leaveQueue();
    };
    leaveModel();
    const labels = { model: model.name, version: model.version };
    const end = new AbortController();
    setMaxListeners(0, end.signal); // each image of the request listens
    const budget = Math.min(deadlineMs ?? this.#options.deadlineMs, this.#options.maxDeadlineMs);
    const timer = setTimeout(
      () => end.abort(new GradCamError('ERR_DEADLINE_EXCEEDED', `There was no answer within ${budget} ms.`)),
      Math.max(0, budget - asker.elapsed),
    );
    const onGone = () => end.abort(new GradCamError('ERR_CLIENT_GONE', 'The client closed the connection.'));
    if (asker.gone.aborted) onGone();
    else asker.gone.addEventListener('abort', onGone, { once: true });
    const given = new Promise<never>((_, reject) => {
      end.signal.addEventListener('abort', () => reject(end.signal.reason), { once: true });
    });
    given.catch(() => {});
    // The answer waits for no work that is given up, but its model and its place in the queue do.
    const trace = traceRequest(model, asker.headers, asker.elapsed);
    const working = this.#start(ticket, asker, model, end, trace, work);
    working.then(leave, leave);
    try {
      const answer = await Promise.race([working, given]);
      this.#metrics.succeeded(labels, asker.elapsed);
      trace.end();
      return answer;
    } catch (error) {
      end.abort(error); // what is under way for other images of the request
      this.#metrics.failed(labels, reasonOf(error), asker.elapsed);
      trace.end(error);
      throw error;
    } finally {
      clearTimeout(timer);
      asker.gone.removeEventListener('abort', onGone);
    }
  }

  async #start<T>(
    ticket: Ticket,
    asker: Asker,
    model: ServedModel,
    end: AbortController,
    trace: Trace,
    work: (call: Call) => Promise<T>,
  ): Promise<T> {
    const { signal } = end;
    signal.throwIfAborted();
    const labels = { model: model.name, version: model.version };
    const timed = async <R>(name: Stage, inner: () => Promise<R> | R): Promise<R> => {
      signal.throwIfAborted();
      const started = performance.now();
      const result = await trace.stage(name, async () => await inner());
      const took = performance.now() - started;
      this.#metrics.stage(name, model.name, took);
      if (name === 'preprocess') this.#metrics.compute('compute_input', labels, took);
      if (name === 'postprocess') this.#metrics.compute('compute_output', labels, took);
      return result;
    };
    const predict: Call['predict'] = async (input, given) => {
      const { outputs, timings } = await timed('predict', () => model.predict(input, given, signal));
      this.#metrics.timings(labels, timings);
      return outputs;
    };
    return await work({
      model,
      signal,
      setMaps: ticket.setMaps,
      reserve: ticket.reserve,
      each: async (parts, work, release) => await settle(parts, work, end, release),
      decode: async (bytes) => {
        await refuseUnlessRaster(bytes);
        const prepare = { ...model.preparation, limitInputPixels: this.#options.maxImagePixels };
        return await this.#workers.decode(bytes, prepare, signal);
      },
      draw: (task) => this.#workers.draw(task, signal),
      writeJson: (answer) => this.#workers.writeJson(answer, signal),
      explain: async (input, choice) => {
        const explanation = await timed('explain', () => model.explain(input, choice, signal));
        this.#metrics.timings(labels, explanation.timings);
        trace.explained(explanation.timings, explanation.batchSize);
        return explanation;
      },
      predict,
      choose: (input, images, given) =>
        chooseTargets(
          {
            sidecar: model.sidecar,
            task: model.task,
            predict,
            reserve: ticket.reserve,
            embed: (texts) => timed('predict', () => model.embed(texts, signal)),
          },
          input,
          images,
          given,
        ),
      stage: timed,
      get elapsed() {
        return asker.elapsed;
      },
    });
  }
}

async function settle<T, R>(
  parts: readonly T[],
  work: (part: T, index: number) => Promise<R>,
  end: AbortController,
  release?: (result: R) => void,
): Promise<R[]> {
  const results = await Promise.allSettled(
    parts.map(async (part, index) => {
      try {
        return await work(part, index);
      } catch (error) {
        end.abort(error);
        throw error;
      }
    }),
  );
  if (end.signal.aborted) for (const each of results) if (each.status === 'fulfilled') release?.(each.value);
  end.signal.throwIfAborted();
  return results.map((each) => (each as PromiseFulfilledResult<R>).value);
}

/** A body that trickles in: its client is told, and loses its connection when it has been, or will not listen. */
function giveUpBody(request: FastifyRequest, reply: FastifyReply): void {
  const { socket } = request.raw;
  if (reply.sent) {
    socket.destroy();
    return;
  }
  reply.raw.once('finish', () => socket.destroySoon());
  setTimeout(() => socket.destroy(), 1000).unref();
  const error = new GradCamError('ERR_DEADLINE_EXCEEDED', 'The request did not arrive in time.');
  void reply.header('connection', 'close').send(Object.assign(error, { statusCode: 408 }));
}

/** What is known and cannot be read goes on to `loadImage`, which tells what to do about it. */
async function refuseUnlessRaster(bytes: Uint8Array): Promise<void> {
  if (isRasterPicture(bytes) || (await unreadableKind(bytes))) return;
  throw new GradCamError(
    'ERR_IMAGE_LOAD',
    'Cannot read the picture: it does not begin as JPEG, PNG, WebP, AVIF, GIF or TIFF do, and a server reads no other kinds.',
  );
}

function reasonOf(error: unknown): FailureReason {
  const { code = '' } = error as { code?: string };
  if (code === 'ERR_BUSY') return 'REJECTED';
  if (code === 'ERR_DEADLINE_EXCEEDED' || code === 'ERR_CLIENT_GONE') return 'CANCELED';
  if (
    code === 'ERR_FORWARD' ||
    code === 'ERR_OUT_OF_MEMORY' ||
    code === 'ERR_CUDA_FAILED' ||
    code === 'ERR_INTERNAL'
  )
    return 'BACKEND';
  return 'OTHER';
}
