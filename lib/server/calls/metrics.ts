import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { StageTimings } from '../../addon/addon.js';
import type { ModelRegistry } from '../models/registry.js';
import type { ServedModel } from '../models/served-model.js';
import type { AdmissionGate } from './admission.js';

export type Stage = 'preprocess' | 'predict' | 'explain' | 'postprocess';

/** Why a request failed, in Triton's words. */
export type FailureReason = 'REJECTED' | 'CANCELED' | 'BACKEND' | 'OTHER';

type ModelLabels = Readonly<Record<'model' | 'version', string>>;

const parts = ['success', 'fail', 'queue', 'compute_input', 'compute_infer', 'compute_output'] as const;
type Part = (typeof parts)[number];

/** How often something was done, and the nanoseconds that it took in all. */
export interface Duration {
  readonly count: number;
  readonly ns: number;
}

/** What was done by one version of a model, as Triton's statistics extension tells it. */
export interface ModelStatistics {
  readonly name: string;
  readonly version: string;
  /** Milliseconds since 1970; 0 before the first inference. */
  readonly last_inference: number;
  readonly inference_count: number;
  readonly execution_count: number;
  readonly inference_stats: Readonly<Record<Part, Duration>>;
}

interface Totals {
  lastInference: number;
  readonly parts: Record<Part, { count: number; ns: number }>;
}

/** A call of gRPC, in the words of its usual metrics. */
export interface HandledCall {
  readonly grpc_type: 'unary' | 'server_stream' | 'bidi_stream';
  readonly grpc_service: string;
  readonly grpc_method: string;
  readonly grpc_code: string;
}

/**
 * What concerns the process is collected once for all servers in it: its collectors watch the event loop and the garbage
 * collector from then on, and cannot be stopped.
 */
let processRegistry: Registry | undefined;
function metricsOfProcess(): Registry {
  if (processRegistry === undefined) {
    processRegistry = new Registry();
    collectDefaultMetrics({ register: processRegistry });
  }
  return processRegistry;
}

const seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const tritonLabels = ['model', 'version'] as const;

/** Prometheus metrics under the names that KServe and Triton give them, so that their dashboards fit. */
export class ServerMetrics {
  readonly #registry = new Registry();
  readonly #stages: Record<Stage, Histogram<'model_name'>>;
  readonly #response: Histogram<'model' | 'version'>;
  readonly #success: Counter<'model' | 'version'>;
  readonly #failure: Counter<'model' | 'version' | 'reason'>;
  readonly #durations: Record<
    'request' | 'queue' | 'compute_input' | 'compute_infer' | 'compute_output',
    Counter
  >;
  readonly #requests: Counter<'method' | 'route' | 'status'>;
  readonly #totals = new Map<string, Totals>();
  readonly #handled: Counter<keyof HandledCall>;

  constructor(models: ModelRegistry, gate: AdmissionGate) {
    metricsOfProcess();
    const registers = [this.#registry];
    const stage = (name: Stage) =>
      new Histogram({
        name: `request_${name}_seconds`,
        help: `Seconds of a request's ${name} stage`,
        labelNames: ['model_name'] as const,
        buckets: seconds,
        registers,
      });
    this.#stages = {
      preprocess: stage('preprocess'),
      predict: stage('predict'),
      explain: stage('explain'),
      postprocess: stage('postprocess'),
    };
    this.#response = new Histogram({
      name: 'nv_inference_first_response_histogram_ms',
      help: 'Milliseconds from the arrival of a request to its answer',
      labelNames: tritonLabels,
      buckets: seconds.map((each) => each * 1000),
      registers,
    });
    this.#success = new Counter({
      name: 'nv_inference_request_success',
      help: 'Requests that were answered',
      labelNames: tritonLabels,
      registers,
    });
    this.#failure = new Counter({
      name: 'nv_inference_request_failure',
      help: 'Requests that failed, by reason: REJECTED for want of room, CANCELED by deadline or client, BACKEND, OTHER',
      labelNames: [...tritonLabels, 'reason'] as const,
      registers,
    });
    const duration = (name: string, help: string) =>
      new Counter({ name: `nv_inference_${name}_duration_us`, help, labelNames: tritonLabels, registers });
    this.#durations = {
      request: duration('request', 'Microseconds of whole requests'),
      queue: duration('queue', 'Microseconds that images waited for a batch and an executor'),
      compute_input: duration('compute_input', 'Microseconds of decoding and preparing inputs'),
      compute_infer: duration('compute_infer', 'Microseconds that the batches of requests were computed'),
      compute_output: duration('compute_output', 'Microseconds of drawing and encoding answers'),
    };
    this.#requests = new Counter({
      name: 'http_requests_total',
      help: 'Answers, by route and status',
      labelNames: ['method', 'route', 'status'] as const,
      registers,
    });
    this.#handled = new Counter({
      name: 'grpc_server_handled_total',
      help: 'Calls of gRPC that ended, by method and status',
      labelNames: ['grpc_type', 'grpc_service', 'grpc_method', 'grpc_code'] as const,
      registers,
    });
    this.#readWhenAsked(models, gate);
  }

  /** What others count already is read when Prometheus asks. */
  #readWhenAsked(models: ModelRegistry, gate: AdmissionGate): void {
    const registers = [this.#registry];
    const ofModels = (name: string, help: string, key: 'images' | 'batches') =>
      new Counter({
        name,
        help,
        labelNames: tritonLabels,
        registers,
        collect() {
          this.reset();
          for (const { model, version, ...totals } of models.totals())
            this.inc({ model, version }, totals[key]);
        },
      });
    ofModels('nv_inference_count', 'Images that were predicted or explained', 'images');
    ofModels(
      'nv_inference_exec_count',
      'Batches that were computed; nv_inference_count divided by it is the mean batch size',
      'batches',
    );
    const gauge = (name: string, help: string, value: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value());
        },
      });
    gauge(
      'nv_inference_pending_request_count',
      'Maps that are on their way through the server: the queue to scale by',
      () => gate.pending,
    );
    gauge(
      'gradcam_pending_bytes',
      'Bytes that are set aside for bodies, inputs, maps and answers',
      () => gate.pendingBytes,
    );
    new Gauge({
      name: 'gradcam_model_ready',
      help: '1 for a model that is loaded and warm, else 0',
      labelNames: ['model_name'] as const,
      registers,
      collect() {
        this.reset();
        for (const name of models.names) this.set({ model_name: name }, models.isReady(name) ? 1 : 0);
      },
    });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  async text(): Promise<string> {
    const [own, ofProcess] = await Promise.all([this.#registry.metrics(), metricsOfProcess().metrics()]);
    return `${own}${ofProcess}`;
  }

  stage(name: Stage, model: string, milliseconds: number): void {
    this.#stages[name].observe({ model_name: model }, milliseconds / 1000);
  }

  timings(labels: ModelLabels, { queue, plan, forward, backward, cam }: StageTimings): void {
    this.#took('queue', labels, queue);
    this.#took('compute_infer', labels, plan + forward + backward + cam);
  }

  compute(part: 'compute_input' | 'compute_infer' | 'compute_output', labels: ModelLabels, ms: number): void {
    this.#took(part, labels, ms);
  }

  #took(
    part: 'queue' | 'compute_input' | 'compute_infer' | 'compute_output',
    labels: ModelLabels,
    ms: number,
  ) {
    this.#durations[part].inc(labels, Math.round(ms * 1000));
    this.#add(part, labels, ms);
  }

  #add(part: Part, { model, version }: ModelLabels, ms: number): Totals {
    const key = JSON.stringify([model, version]);
    const empty = () =>
      Object.fromEntries(parts.map((each) => [each, { count: 0, ns: 0 }])) as Totals['parts'];
    const totals = this.#totals.get(key) ?? { lastInference: 0, parts: empty() };
    this.#totals.set(key, totals);
    totals.parts[part].count++;
    totals.parts[part].ns += Math.round(ms * 1e6);
    return totals;
  }

  succeeded(labels: ModelLabels, milliseconds: number): void {
    this.#success.inc(labels);
    this.#response.observe(labels, milliseconds);
    this.#durations.request.inc(labels, Math.round(milliseconds * 1000));
    this.#add('success', labels, milliseconds).lastInference = Date.now();
  }

  failed(labels: ModelLabels, reason: FailureReason, milliseconds: number): void {
    this.#failure.inc({ ...labels, reason });
    this.#add('fail', labels, milliseconds);
  }

  /** What a loaded model has done since it was loaded. */
  statistics({ name, version, totals }: ServedModel): ModelStatistics {
    const counted = this.#totals.get(JSON.stringify([name, version]));
    const duration = (part: Part): Duration => ({ count: 0, ns: 0, ...counted?.parts[part] });
    return {
      name,
      version,
      last_inference: counted?.lastInference ?? 0,
      inference_count: totals.images,
      execution_count: totals.batches,
      inference_stats: Object.fromEntries(parts.map((part) => [part, duration(part)])) as Record<
        Part,
        Duration
      >,
    };
  }

  answered(method: string, route: string, status: number): void {
    this.#requests.inc({ method, route, status });
  }

  handled(call: HandledCall): void {
    this.#handled.inc({ ...call });
  }
}
