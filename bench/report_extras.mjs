import { figure } from './statistics.mjs';

/** What was measured of the extras, as rows of a name and a figure. */
export function extraRows(extras) {
  const rows = {
    firstCall: firstCallRows,
    fiveClasses: ({ ratio }) => [['5 classes of one image / 1 class', figure(ratio, 3)]],
    callers: callerRows,
    growth: ({ explains, first, last }) => [
      [
        `memory, explain ${explains.first} to ${explains.last}`,
        `${figure(first, 0)} to ${figure(last, 0)} MiB (${figure((last / first - 1) * 100, 1)} %)`,
      ],
    ],
    peakMemory: peakRows,
  };
  return rowsOf(rows, extras);
}

/** The same of the methods. */
export function methodRows(methods) {
  const rows = {
    eigencam: ({ ratio, gradcam, ours }) => [
      [
        "EigenCAM's arithmetic: pytorch-grad-cam / ours",
        `${figure(ratio, 0)} (${figure(gradcam, 0)} / ${figure(ours, 1)} ms)`,
      ],
    ],
    ablationcam: (one) => rowsOfMethod('AblationCAM', one),
    scorecam: (one) => rowsOfMethod('ScoreCAM', one),
  };
  return rowsOf(rows, methods);
}

const rowsOf = (rows, measured = {}) =>
  Object.keys(rows)
    .filter((name) => name in measured)
    .flatMap((name) => rows[name](measured[name]));

function firstCallRows(firstCall) {
  const calls = ({ first, steady, ratio }) =>
    `${figure(ratio)} (${figure(first, 0)} / ${figure(steady, 0)} ms)`;
  return Object.entries(firstCall).flatMap(([batch, cold]) => [
    [`first call / steady call, B=${batch}`, calls(cold)],
    ...(cold.warmedUp
      ? [[`  after warmUp (${figure(cold.warmedUp.warmUp, 0)} ms)`, calls(cold.warmedUp)]]
      : []),
  ]);
}

function rowsOfMethod(label, one) {
  const seconds = (ms) => `${figure(ms / 1000, 1)} s`;
  return [
    [
      `${label}: pytorch-grad-cam / ours`,
      `${figure(one.ratio, 1)} (${seconds(one.gradcam)} / ${seconds(one.ours)})`,
    ],
    [`  memory on top of the forward's`, `${figure(one.gradcamMemory, 0)} / ${figure(one.ourMemory, 0)} MiB`],
    [`  differs`, one.difference.toExponential(0)],
  ];
}

function peakRows(peakMemory) {
  return Object.entries(peakMemory).flatMap(([batch, peaks]) => [
    [`peak memory, B=${batch}: explain / forward`, peak(peaks.ratio, peaks.ours, peaks.forward)],
    [`  not optimized / forward`, peak(peaks.plain / peaks.forward, peaks.plain, peaks.forward)],
    [`  pytorch-grad-cam / eager`, peak(peaks.pythonRatio, peaks.gradcam, peaks.eager)],
  ]);
}

const peak = (ratio, one, other) => `${figure(ratio)} (${figure(one, 0)} / ${figure(other, 0)} MiB)`;

function callerRows(callers) {
  if (!callers) return [['32 callers / direct batches of 8', 'not available']];
  const { ratio, concurrent, direct, eventLoopP99, idleEventLoopP99 } = callers;
  return [
    [
      '32 callers / direct batches of 8',
      `${figure(ratio)} (${figure(concurrent, 1)} / ${figure(direct, 1)} images/s)`,
    ],
    [
      'event-loop delay p99, busy less idle',
      `${figure(eventLoopP99 - idleEventLoopP99, 1)} ms (${figure(eventLoopP99, 1)} less ${figure(idleEventLoopP99, 1)})`,
    ],
  ];
}
