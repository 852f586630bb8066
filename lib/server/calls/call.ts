import { setMaxListeners } from 'node:events';
import type { FastifyReply, FastifyRequest } from 'fastify';
import PQueue from 'p-queue';
import type { Explanation } from '../../cam/explanation.js';
import { GradCamError } from '../../errors/errors.js';
import { type LoadedImage, loadImage } from '../../image/load-image.js';
import type { ModelArguments } from '../../model/arguments.js';
import type { ModelOutput } from '../../model/output.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { CheckedServerOptions } from '../configuration/options.js';
import type { ModelRegistry } from '../models/registry.js';
import type { ExplainChoice, ServedModel } from '../models/served-model.js';
import type { AskedImage, ChosenTargets } from '../targets/choice.js';
import { chooseTargets } from '../targets/choose-targets.js';
import type { AdmissionGate, Ticket } from './admission.js';
import type { FailureReason, ServerMetrics, Stage } from './metrics.js';

/** What a request that computes holds from before its body is read. */
interface Admission {
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

/** One request to a model, from the parsed body to the answer: its model, its deadline, its times. */
export interface Call {
  readonly model: ServedModel;
  /** Aborted at the deadline, and when the client has gone. */
  readonly signal: AbortSignal;
  /** What is asked for in all, once it is known. */
  setImages(count: number): void;
  decode(bytes: Uint8Array): Promise<LoadedImage>;
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

/** Runs the calls of all protocols: one queue, one pool that decodes, one way to count and to give up. */
export class CallRunner {
  readonly #models: ModelRegistry;
  readonly #gate: AdmissionGate;
  readonly #metrics: ServerMetrics;
  readonly #options: CheckedServerOptions;
  readonly #decoding: PQueue;
  readonly #receiving = new WeakMap<FastifyRequest, NodeJS.Timeout>();

  constructor(
    models: ModelRegistry,
    gate: AdmissionGate,
    metrics: ServerMetrics,
    options: CheckedServerOptions,
  ) {
    this.#models = models;
    this.#gate = gate;
    this.#metrics = metrics;
    this.#options = options;
    this.#decoding = new PQueue({ concurrency: options.decodeThreads });
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
    const announced = Number(request.headers['content-length']);
    const bytes = Number.isFinite(announced) ? announced : this.#options.maxBodyBytes;
    let ticket: Ticket;
    try {
      ticket = this.#gate.enter(Math.min(bytes, this.#options.maxBodyBytes));
    } catch (error) {
      this.#metrics.failed({ model: model.name, version: model.version }, 'REJECTED');
      throw error;
    }
    const leaveModel = model.use();
    // Node gives up on a body that trickles in, but not any more once the server closes.
    const late = setTimeout(() => request.raw.destroy(), this.#options.deadlineMs + 5000).unref();
    this.#receiving.set(request, late);
    request.gradcamAdmission = { model, ticket, leaveModel };
    reply.raw.once('close', () => {
      clearTimeout(late);
      ticket.leave();
      leaveModel();
    });
  }

  /**
   * Runs what an admitted request asks for.
   * @param deadlineMs - the request's own; undefined: the server's
   * @throws {GradCamError} `ERR_DEADLINE_EXCEEDED`, `ERR_CLIENT_GONE`, `ERR_BUSY`, and what `work` throws
   */
  async run<T>(
    request: FastifyRequest,
    reply: FastifyReply,
    deadlineMs: number | undefined,
    work: (call: Call) => Promise<T>,
  ): Promise<T> {
    clearTimeout(this.#receiving.get(request));
    const admission = request.gradcamAdmission;
    if (!admission) throw new GradCamError('ERR_INTERNAL', `${request.url} runs without being admitted.`);
    const { model, leaveModel } = admission;
    const leave = model.use();
    leaveModel();
    const labels = { model: model.name, version: model.version };
    const end = new AbortController();
    setMaxListeners(0, end.signal); // each image of the request listens
    const budget = Math.min(deadlineMs ?? this.#options.deadlineMs, this.#options.maxDeadlineMs);
    const timer = setTimeout(
      () => end.abort(new GradCamError('ERR_DEADLINE_EXCEEDED', `There was no answer within ${budget} ms.`)),
      Math.max(0, budget - reply.elapsedTime),
    );
    const onClose = () => end.abort(new GradCamError('ERR_CLIENT_GONE', 'The client closed the connection.'));
    if (reply.raw.destroyed) onClose();
    else reply.raw.once('close', onClose);
    const given = new Promise<never>((_, reject) => {
      end.signal.addEventListener('abort', () => reject(end.signal.reason), { once: true });
    });
    given.catch(() => {});
    // Work that cannot be stopped in the middle, such as decoding, is left behind; the model stays until it ends.
    const working = this.#start(request, reply, model, end.signal, work);
    working.then(leave, leave);
    try {
      const answer = await Promise.race([working, given]);
      this.#metrics.succeeded(labels, reply.elapsedTime);
      return answer;
    } catch (error) {
      end.abort(error); // what is under way for other images of the request
      this.#metrics.failed(labels, reasonOf(error));
      throw error;
    } finally {
      clearTimeout(timer);
      reply.raw.removeListener('close', onClose);
    }
  }

  async #start<T>(
    request: FastifyRequest,
    reply: FastifyReply,
    model: ServedModel,
    signal: AbortSignal,
    work: (call: Call) => Promise<T>,
  ): Promise<T> {
    signal.throwIfAborted();
    const labels = { model: model.name, version: model.version };
    const timed = async <R>(name: Stage, inner: () => Promise<R> | R): Promise<R> => {
      signal.throwIfAborted();
      const started = performance.now();
      const result = await inner();
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
      setImages: (count) => request.gradcamAdmission?.ticket.setImages(count),
      decode: async (bytes) => {
        const prepare = { ...model.preparation, limitInputPixels: this.#options.maxImagePixels };
        return await this.#decoding.add(() => loadImage(bytes, prepare), { signal });
      },
      explain: async (input, choice) => {
        const explanation = await timed('explain', () => model.explain(input, choice, signal));
        this.#metrics.timings(labels, explanation.timings);
        return explanation;
      },
      predict,
      choose: (input, images, given) =>
        chooseTargets(
          {
            sidecar: model.sidecar,
            task: model.task,
            predict,
            embed: (texts) => timed('predict', () => model.embed(texts, signal)),
          },
          input,
          images,
          given,
        ),
      stage: timed,
      get elapsed() {
        return reply.elapsedTime;
      },
    });
  }
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
