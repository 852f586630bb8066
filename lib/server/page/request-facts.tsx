import type { Answer } from './explain-client.js';

const milliseconds = (value: number) =>
  value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(0)} ms`;

/** What the request cost, and with how many others it shared a batch. */
export function RequestFacts({ answer }: { readonly answer: Answer }) {
  const { timings_ms: times, batch_size: batch } = answer;
  const facts: readonly (readonly [string, string, string])[] = [
    ['Time', milliseconds(times.total), 'from the arrival of the request to its answer'],
    ['Queue', milliseconds(times.queue), 'waiting for a batch and a free executor'],
    [
      'Model',
      milliseconds(times.plan + times.forward + times.backward + times.cam),
      'forward, backward and map of the batch',
    ],
    ['Batch', batch === 1 ? '1 image' : `${batch} images`, 'computed together with this one'],
    ['Pending', String(answer.pending), 'images on their way through the server'],
  ];
  return (
    <dl class="facts">
      {facts.map(([name, value, hint]) => (
        <div key={name} title={hint}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
