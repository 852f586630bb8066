import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { StageTimings } from '../../addon/addon.js';
import type { ModelRegistry } from '../models/registry.js';
import type { AdmissionGate } from './admission.js';

export type Stage = 'preprocess' | 'predict' | 'explain' | 'postprocess';

/** Why a request failed, in Triton's words. */
export type FailureReason = 'REJECTED' | 'CANCELED' | 'BACKEND' | 'OTHER';

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

  constructor(models: ModelRegistry, gate: AdmissionGate) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
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
    ofModels('nv_inference_count', 'Images that were explained or predicted', 'images');
    ofModels(
      'nv_inference_exec_count',
      'Batches that were explained or predicted; nv_inference_count divided by it is the mean batch size',
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
      'Images that are on their way through the server: the queue to scale by',
      () => gate.pending,
    );
    gauge('gradcam_pending_bytes', 'Bytes of request bodies that are held', () => gate.pendingBytes);
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
    return await this.#registry.metrics();
  }

  stage(name: Stage, model: string, milliseconds: number): void {
    this.#stages[name].observe({ model_name: model }, milliseconds / 1000);
  }

  timings(
    labels: { model: string; version: string },
    { queue, plan, forward, backward, cam }: StageTimings,
  ): void {
    this.#durations.queue.inc(labels, Math.round(queue * 1000));
    this.#durations.compute_infer.inc(labels, Math.round((plan + forward + backward + cam) * 1000));
  }

  compute(
    part: 'compute_input' | 'compute_output',
    labels: { model: string; version: string },
    ms: number,
  ): void {
    this.#durations[part].inc(labels, Math.round(ms * 1000));
  }

  succeeded(labels: { model: string; version: string }, milliseconds: number): void {
    this.#success.inc(labels);
    this.#response.observe(labels, milliseconds);
    this.#durations.request.inc(labels, Math.round(milliseconds * 1000));
  }

  failed(labels: { model: string; version: string }, reason: FailureReason): void {
    this.#failure.inc({ ...labels, reason });
  }

  answered(method: string, route: string, status: number): void {
    this.#requests.inc({ method, route, status });
  }
}
