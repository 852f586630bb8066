const missing = (value) => value === null || value === undefined || !Number.isFinite(value);
const figure = (value, digits = 2) => (missing(value) ? '-' : value.toFixed(digits));
const small = (value) => (missing(value) ? '-' : value.toExponential(0));

const columns = [
  ['model', ({ model }) => model],
  ['B', ({ batch }) => batch],
  ['ours', ({ medians }) => figure(medians.ours)],
  ['not optimized', ({ medians }) => figure(medians.plain)],
  ['our forward', ({ medians }) => figure(medians.forward)],
  ['eager', ({ medians }) => figure(medians.eager)],
  ['TorchScript', ({ medians }) => figure(medians.torchscript)],
  ['grad-cam', ({ medians }) => figure(medians.gradcam)],
  ['torch-cam', ({ medians }) => figure(medians.torchcam)],
  ['Captum', ({ medians }) => figure(medians.captum)],
  ['ours/eager', ({ ratios }) => figure(ratios.oursToEager)],
  ['grad-cam/ours', ({ ratios }) => figure(ratios.gradcamToOurs)],
  ['torch-cam/ours', ({ ratios }) => figure(ratios.torchcamToOurs)],
  ['Captum/ours', ({ ratios }) => figure(ratios.captumToOurs)],
  ['maps differ', ({ differences, failed }) => `${failed ? '!' : ''}${small(differences.ours)}`],
  ['outputs differ', ({ differences }) => small(differences.outputs)],
  ['ours from float32', ({ fromFloat32 }) => small(fromFloat32.ours)],
  ['grad-cam from float32', ({ fromFloat32 }) => small(fromFloat32.gradcam)],
];

export function table(rows) {
  const [head, ...body] = rows;
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [
    line(head),
    `|${head.map((_, index) => (index === 0 ? '---' : '---:')).join('|')}|`,
    ...body.map(line),
    '',
  ];
}

export function describeCell({ model, batch, setting, error, medians, ratios, failures, failed }) {
  if (error) return `${model} B=${batch} ${setting} failed: ${error}`;
  const left = Object.keys(failures);
  return (
    `${model} B=${batch} ${setting}: ours ${figure(medians.ours)} ms, eager ${figure(medians.eager)} ms ` +
    `(${figure(ratios.oursToEager)}), grad-cam ${figure(medians.gradcam)} ms (${figure(ratios.gradcamToOurs, 1)}x)` +
    `${failed ? ', VALUES DIFFER' : ''}${left.length > 0 ? `; without ${left.join(', ')}` : ''}`
  );
}

function cellSections(cells) {
  const measured = cells.filter(({ error }) => !error);
  const lines = [];
  for (const setting of new Set(measured.map((cell) => cell.setting))) {
    const own = measured.filter((cell) => cell.setting === setting);
    lines.push(`## ${setting}`, '', 'Milliseconds of one call for the whole batch, medians:', '');
    lines.push(
      ...table([columns.map(([name]) => name), ...own.map((cell) => columns.map(([, read]) => read(cell)))]),
    );
    const stages = Object.keys(
      own.find(({ stages }) => stages.ours.forward !== undefined)?.stages.ours ?? {},
    );
    if (stages.length === 0) continue;
    lines.push('Stages of ours, and the first call of each:', '');
    lines.push(
      ...table([
        ['model', 'B', ...stages, 'first ours', 'first eager', 'first grad-cam', 'rounds'],
        ...own.map(({ model, batch, stages: { ours }, first, rounds }) => [
          model,
          batch,
          ...stages.map((stage) => figure(ours[stage], 3)),
          ...['ours', 'eager', 'gradcam'].map((name) => figure(first[name], 0)),
          rounds,
        ]),
      ]),
    );
  }
  return lines;
}

function failureLines(cells) {
  const reasons = {};
  for (const { model, batch, setting, error, failures = {} } of cells) {
    for (const [name, reason] of error ? [['the cell', error]] : Object.entries(failures)) {
      reasons[reason] ??= { names: new Set(), where: new Set() };
      reasons[reason].names.add(name);
      reasons[reason].where.add(`${model} B=${batch} ${setting}`);
    }
  }
  const lines = Object.entries(reasons).map(
    ([reason, { names, where }]) => `- ${[...names].join(', ')}: ${reason} (${[...where].join('; ')})`,
  );
  return lines.length > 0 ? ['## Missing', '', ...lines, ''] : [];
}

function callerSection(callers) {
  if (!callers) return [];
  const lines = ['## Eight callers, ResNet-50, images per second', ''];
  if (callers.error) lines.push(`Failed: ${callers.error}`, '');
  if (!callers.rows?.length) return lines;
  return [
    ...lines,
    ...table([
      ['executors', 'Explainer', 'each its own explain', `batches of ${callers.rows[0].batch}`],
      ...callers.rows.map(({ executors, explainer, alone, direct }) => [
        executors,
        ...[explainer, alone, direct].map((speed) => figure(speed, 0)),
      ]),
    ]),
  ];
}

function memorySection(memory) {
  if (!memory) return [];
  const lines = [`## Device memory, ResNet-50, B=${memory.batch}, MiB`, ''];
  if (memory.error) lines.push(`Failed: ${memory.error}`, '');
  for (const [name, { allocated, reserved }] of Object.entries(memory.python))
    lines.push(
      `- Python ${name}: at most ${figure(allocated, 0)} allocated, ${figure(reserved, 0)} reserved`,
    );
  for (const [name, { library, model, onDevice }] of Object.entries(memory.node)) {
    const told = JSON.stringify(library?.devices ?? library ?? model);
    lines.push(
      `- ours after ${name}: the device has ${figure(onDevice, 0)} more in use (context included); ${told}`,
    );
  }
  return [...lines, ''];
}

function methodSection(methods) {
  if (!methods) return [];
  return [
    '## Methods, ResNet-50, one image, milliseconds of each call',
    '',
    ...table([
      ['method', 'ours', 'grad-cam', 'grad-cam/ours', 'maps differ', 'failures'],
      ...Object.entries(methods).map(([name, one]) => [
        name,
        (one.ours ?? []).map((ms) => figure(ms, 1)).join(', ') || '-',
        (one.gradcam ?? []).map((ms) => figure(ms, 1)).join(', ') || '-',
        figure(one.ratio, 1),
        small(one.difference),
        [one.error, one.failure, one.gradcamFailure].filter(Boolean).join('; ') || '-',
      ]),
    ]),
  ];
}

function profileSection(profiles) {
  if (!profiles?.length) return [];
  const passNames = ['forward', 'forwardAndBackwardToLayer', 'forwardAndBackward'];
  const stages = [...new Set(profiles.flatMap(({ ours }) => Object.keys(ours ?? {})))];
  const lines = ['## Where the time goes, ResNet-50, milliseconds', ''];
  if (stages.length > 0)
    lines.push(
      ...table([
        ['ours', 'B', ...stages],
        ...profiles.map(({ setting, batch, ours }) => [
          setting,
          batch,
          ...stages.map((stage) => figure(ours?.[stage], 3)),
        ]),
      ]),
    );
  const rows = profiles.flatMap(({ setting, batch, python }) =>
    passNames
      .filter((name) => python?.passes[name])
      .map((name) => {
        const { alone, inARow, busy, launches } = python.passes[name];
        const graph = name === 'forward' ? python.graph : null;
        return [
          setting,
          batch,
          name,
          ...[busy, alone, inARow, graph].map((ms) => figure(ms, 3)),
          figure(launches, 0),
        ];
      }),
  );
  const head = [
    'PyTorch, input on the device',
    'B',
    'pass',
    'device busy',
    'one call',
    'calls in a row',
    'as a graph',
  ];
  lines.push(...table([[...head, 'kernels'], ...rows]));
  for (const { setting, batch, failure, pythonFailure, python } of profiles) {
    const failures = { ours: failure, python: pythonFailure, ...python?.failures };
    for (const [what, reason] of Object.entries(failures))
      if (reason) lines.push(`- ${setting} B=${batch}, ${what}: ${reason}`);
  }
  return [...lines, ''];
}

export function markdown({ machine, cells, callers, memory, methods, profiles, notMeasured }) {
  const { device, doctor } = machine;
  const versions = Object.entries(machine.packages).map(([name, version]) => `${name} ${version}`);
  return [
    `Measured on ${machine.date.slice(0, 10)}: ${device?.name ?? machine.deviceFailure}, CUDA ${device?.cuda}, cuDNN ` +
      `${device?.cudnn}; ${machine.processor}, ${machine.cores} cores, Node ${machine.node}, LibTorch ` +
      `${doctor?.libtorch?.version ?? machine.doctorFailure}, Python ${machine.python} with ${versions.join(', ')}; ` +
      `${machine.threads} threads on each side${machine.missing.length ? `; without ${machine.missing.join(', ')}` : ''}.`,
    '',
    ...cellSections(cells),
    ...profileSection(profiles),
    ...callerSection(callers),
    ...memorySection(memory),
    ...methodSection(methods),
    ...failureLines(cells),
    ...(notMeasured.length > 0
      ? [`Not measured, as the time was used up: ${notMeasured.join('; ')}.`, '']
      : []),
  ].join('\n');
}
