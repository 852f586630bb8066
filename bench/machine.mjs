import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { doctor } from '../dist/lib/index.js';

const packages = ['torch', 'torchvision', 'grad-cam', 'torchcam', 'captum', 'numpy'];
const modules = ['torch', 'torchvision', 'pytorch_grad_cam', 'torchcam', 'captum', 'numpy'];
// A run goes on without them. The exporter needs onnx.
const optional = ['onnx', 'onnxruntime', 'openvino'];

const listVersions = `
import importlib.metadata, importlib.util, json, platform, sys
names, modules = json.loads(sys.argv[1])
missing = [n for n, m in zip(names, modules) if importlib.util.find_spec(m) is None]
version = lambda n: importlib.metadata.version(n)
print(json.dumps({"python": platform.python_version(), "missing": missing,
                  "packages": {n: version(n) for n in names if n not in missing}}))
`;

/** Versions of the Python and its packages, and the names of those that are missing, apart from the optional ones. */
export function inspectPython(python) {
  const wanted = JSON.stringify([
    [...packages, ...optional],
    [...modules, ...optional],
  ]);
  const found = JSON.parse(execFileSync(python, ['-c', listVersions, wanted], { encoding: 'utf8' }));
  return { ...found, missing: found.missing.filter((name) => !optional.includes(name)) };
}

/** Tells builds of the addon apart. */
export function addonDigest() {
  return createHash('sha256').update(readFileSync(doctor().addonPath)).digest('hex').slice(0, 12);
}

export const loadAverage = () => os.loadavg().map((load) => Number(load.toFixed(2)));

/** What the figures are measured on. */
export function describeMachine({ threads }, { python, packages: versions }) {
  const { libtorch, cpuCapability } = doctor();
  return {
    date: new Date().toISOString(),
    processor: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()}`,
    node: process.version,
    libtorch: libtorch.version,
    python,
    packages: versions,
    cpuCapability,
    threads,
    loadAverageBefore: loadAverage(),
  };
}
