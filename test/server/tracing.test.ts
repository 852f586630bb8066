import { propagation, SpanStatusCode, trace } from '@opentelemetry/api';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import test from 'ava';
import { fixturePath } from '../helpers/root.js';
import { photo, startServer } from '../helpers/server.js';
import { until } from '../helpers/until.js';

// As an application sets OpenTelemetry up, before the server is there.
const exporter = new InMemorySpanExporter();
trace.setGlobalTracerProvider(
  new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
);
const traceId = '0af7651916cd43dd8448eb211c80319c';
const spanId = 'b7ad6b7169203331';
propagation.setGlobalPropagator({
  inject: () => {},
  fields: () => ['traceparent'],
  extract: (context, carrier) => {
    const { traceparent = '' } = carrier as { traceparent?: string };
    const [, trace_ = '', parent = ''] = traceparent.split('-');
    const remote = { traceId: trace_, spanId: parent, traceFlags: 1, isRemote: true };
    return trace_ ? trace.setSpanContext(context, remote) : context;
  },
});

const models = { lite: fixturePath('scripted.pt') };
const milliseconds = ([seconds, nanoseconds]: readonly [number, number]) =>
  seconds * 1000 + nanoseconds / 1e6;
const lasted = (span: ReadableSpan) => milliseconds(span.duration);

test.beforeEach(() => exporter.reset());

test.serial(
  'a request is a span in that of its client, with its stages and what the explain was made of',
  async (t) => {
    await using running = await startServer({ models });
    exporter.reset();
    const traceparent = `00-${traceId}-${spanId}-01`;
    const response = await running.post('/explain/lite?format=json', photo, { traceparent });
    t.is(response.status, 200);
    const { timings_ms: timings } = (await response.json()) as { timings_ms: Record<string, number> };
    const spans = await until('the span of the request', () => {
      const finished = exporter.getFinishedSpans();
      return finished.some(({ name }) => name === 'gradcam.request') && finished;
    });
    const named = (name: string) => {
      const found = spans.filter((span) => span.name === `gradcam.${name}`);
      t.is(found.length, 1, name);
      return found[0] as ReadableSpan;
    };
    const request = named('request');
    t.is(request.parentSpanContext?.spanId, spanId);
    t.true(spans.every((span) => span.spanContext().traceId === traceId));
    t.deepEqual(request.attributes, { 'gradcam.model.name': 'lite', 'gradcam.model.version': '1' });
    for (const name of ['preprocess', 'explain', 'postprocess', 'queue', 'batch'])
      t.is(named(name).parentSpanContext?.spanId, request.spanContext().spanId, name);
    const batch = named('batch');
    t.is(batch.attributes['gradcam.batch.size'], 1);
    for (const [name, of] of [
      ['plan', 'plan'],
      ['forward', 'forward'],
      ['backward', 'backward'],
      ['map', 'cam'],
    ] as const) {
      const span = named(name);
      t.is(span.parentSpanContext?.spanId, batch.spanContext().spanId, name);
      t.true(Math.abs(lasted(span) - (timings[of] ?? Number.NaN)) < 0.01, name);
    }
    t.true(Math.abs(lasted(named('queue')) - (timings.queue ?? Number.NaN)) < 0.01);
    t.true(lasted(request) >= lasted(named('preprocess')) + lasted(named('explain')));
  },
);

test.serial('a failure is told by its code', async (t) => {
  await using running = await startServer({ models });
  exporter.reset();
  t.is((await running.post('/explain/lite', Buffer.from('no picture'))).status, 400);
  const request = await until(
    'the span',
    () => exporter.getFinishedSpans().find(({ name }) => name === 'gradcam.request') ?? null,
  );
  t.deepEqual(request.status, { code: SpanStatusCode.ERROR, message: 'ERR_IMAGE_LOAD' });
  t.is(request.parentSpanContext, undefined);
});
