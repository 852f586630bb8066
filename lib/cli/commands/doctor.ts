import { Command } from 'commander';
import { type DoctorReport, doctor } from '../../addon/doctor.js';
import { printJson } from '../terminal/each-image.js';

export function doctorCommand(): Command {
  return new Command('doctor')
    .summary('show what the library runs on')
    .description('Shows what the library runs on, or why it cannot run.')
    .option('--json', 'print JSON')
    .action(({ json }: { json?: boolean }) => {
      const report = doctor();
      if (json) {
        printJson(report);
        return;
      }
      const { libtorch, cuda, threads } = report;
      const rows: [string, string][] = [
        ['Addon', report.addonPath],
        ['LibTorch', `${libtorch.version}, found through: ${libtorch.source}`],
        ['', libtorch.path],
        ['', `tested with ${libtorch.testedVersions.join(' and ')}`],
        ['CPU', `${report.cpuCapability} (${report.platform})`],
        ...cudaRows(cuda),
        ...torchvisionRows(report),
        ['Threads', `${threads.executors} executor, ${threads.intraOp} inside an operation`],
        ['Node', report.node],
      ];
      for (const [name, value] of rows) console.log(`${name.padEnd(13)}${value}`);
    });
}

function cudaRows(cuda: DoctorReport['cuda']): [string, string][] {
  const versions = [
    cuda.runtimeVersion && `CUDA ${cuda.runtimeVersion}`,
    cuda.cudnnVersion && `cuDNN ${cuda.cudnnVersion}`,
    cuda.driverVersion && `a driver for CUDA ${cuda.driverVersion}`,
  ].filter((text) => text !== null);
  const list = versions.length > 0 ? [['', versions.join(', ')] satisfies [string, string]] : [];
  if (!cuda.available) return [['CUDA', `not available: ${cuda.reason}`], ...list];
  const devices = cuda.devices.map(({ name, totalBytes }, index): [string, string] => [
    index === 0 ? 'CUDA' : '',
    `cuda:${index} ${name}, ${(totalBytes / 2 ** 30).toFixed(0)} GiB`,
  ]);
  return [
    ...(devices.length > 0 ? devices : [['CUDA', `${cuda.deviceCount} devices`] satisfies [string, string]]),
    ...list,
  ];
}

function torchvisionRows({ torchvision }: DoctorReport): [string, string][] {
  if (!torchvision) return [['torchvision', 'not found; only detection models need it']];
  const { version, source, path, problem } = torchvision;
  const usable = problem === null ? `found through: ${source}` : `not usable: ${problem}`;
  return [
    ['torchvision', `${version ?? 'of unknown version'}, ${usable}`],
    ['', path],
  ];
}
