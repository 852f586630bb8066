import { Command } from 'commander';
import { type DoctorReport, doctor } from '../doctor.js';

export function doctorCommand(): Command {
  return new Command('doctor')
    .summary('show what the library runs on')
    .description('Shows what the library runs on, or why it cannot run.')
    .option('--json', 'print JSON')
    .action(({ json }: { json?: boolean }) => {
      const report = doctor();
      if (json) {
        console.log(JSON.stringify(report, null, 2));
        return;
      }
      const { libtorch, cuda, threads } = report;
      const devices = `${cuda.deviceCount} device${cuda.deviceCount === 1 ? '' : 's'}`;
      const rows: [string, string][] = [
        ['Addon', report.addonPath],
        ['LibTorch', `${libtorch.version}, found through: ${libtorch.source}`],
        ['', libtorch.path],
        ['', `tested with ${libtorch.testedVersions.join(' and ')}`],
        ['CPU', `${report.cpuCapability} (${report.platform})`],
        ['CUDA', cuda.available ? `available, ${devices}` : `not available: ${cuda.reason}`],
        ...torchvisionRows(report),
        ['Threads', `${threads.executors} executor, ${threads.intraOp} inside an operation`],
        ['Node', report.node],
      ];
      for (const [name, value] of rows) console.log(`${name.padEnd(13)}${value}`);
    });
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
