import { createRequire } from 'node:module';
import type { Context, Span } from '@opentelemetry/api';
import type { StageTimings } from '../../addon/addon.js';

type OpenTelemetry = typeof import('@opentelemetry/api');

let found: OpenTelemetry | null | undefined;

/** The user's, where it is installed: its parts find each other, wherever they are loaded from. */
function openTelemetry(): OpenTelemetry | null {
  if (found === undefined) {
    try {
      found = createRequire(import.meta.url)('@opentelemetry/api') as OpenTelemetry;
    } catch {
      found = null;
    }
  }
  return found;
}

/** The spans of one request. Without OpenTelemetry, or an SDK that listens, nothing is kept. */
export interface Trace {
  /** A span over a stage: `preprocess`, `predict`, `explain`, `postprocess`. */
  stage<T>(name: string, work: () => Promise<T>): Promise<T>;
  /** Spans of what an explain that has just ended was made of: `queue`, and `batch` with its stages. */
  explained(timings: StageTimings, batchSize: number): void;
  end(error?: unknown): void;
}

const untraced: Trace = { stage: (_name, work) => work(), explained: () => {}, end: () => {} };

/**
 * Begins the span of a request, `gradcam.request`: in the span that is active, else in that of the client's `traceparent`.
 * @param headers - of the request, or the metadata of a call
 * @param elapsed - milliseconds since the request came
 */
export function traceRequest(
  model: { readonly name: string; readonly version: string },
  headers: Readonly<Record<string, unknown>>,
  elapsed: number,
): Trace {
  const api = openTelemetry();
  if (!api) return untraced;
  const tracer = api.trace.getTracer('node-gradcam');
  const active = api.context.active();
  const around = api.trace.getSpan(active) ? active : api.propagation.extract(active, headers);
  const begin = (name: string, startTime: number, parent: Context, attributes = {}): Span =>
    tracer.startSpan(`gradcam.${name}`, { startTime, attributes }, parent);
  const attributes = { 'gradcam.model.name': model.name, 'gradcam.model.version': model.version };
  const request = begin('request', now() - elapsed, around, attributes);
  const within = api.trace.setSpan(around, request);
  const fail = (span: Span, error: unknown) => {
    const { message, code } = error as Error & { code?: string };
    span.setStatus({ code: api.SpanStatusCode.ERROR, message: code ?? message });
  };
  return {
    stage: async (name, work) => {
      const span = begin(name, now(), within);
      try {
        return await api.context.with(api.trace.setSpan(within, span), work);
      } catch (error) {
        fail(span, error);
        throw error;
      } finally {
        span.end(now());
      }
    },
    explained: ({ queue, plan, forward, backward, cam }, batchSize) => {
      const end = now();
      let time = end - (plan + forward + backward + cam);
      begin('queue', time - queue, within).end(time);
      const batch = begin('batch', time, within, { 'gradcam.batch.size': batchSize });
      for (const [name, took] of Object.entries({ plan, forward, backward, map: cam })) {
        begin(name, time, api.trace.setSpan(within, batch)).end(time + took);
        time += took;
      }
      batch.end(end);
    },
    end: (error) => {
      if (error !== undefined) fail(request, error);
      request.end(now());
    },
  };
}

/** Milliseconds since 1970, with fractions. */
function now(): number {
  return performance.timeOrigin + performance.now();
}
