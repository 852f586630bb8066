import type { GradCamError } from '../errors/errors.js';
import type { PreflightReport } from './file-checks.js';
import { type LoadModelOptions, loadModel } from './load-model.js';

// The process in which `preflight` loads a file first: `node preflight.js FILE OPTIONS`, the
// options as JSON. It may crash; that is its purpose.

async function report(path: string, options: LoadModelOptions): Promise<PreflightReport> {
  try {
    const model = await loadModel(path, options);
    await model.dispose();
    return { ok: true };
  } catch (error) {
    const { code = 'ERR_INTERNAL', message, details = {} } = error as GradCamError;
    return { code, message, details };
  }
}

const [path = '', options = '{}'] = process.argv.slice(2);
process.stdout.write(JSON.stringify(await report(path, JSON.parse(options))));
