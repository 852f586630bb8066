import { loadModel } from './model.js';
import type { PreflightReport } from './model-file.js';

// The process in which `preflight` loads a file first: `node preflight.js FILE`. It may crash; that is its purpose.

async function report(path: string): Promise<PreflightReport> {
  try {
    const model = await loadModel(path);
    await model.dispose();
    return { ok: true };
  } catch (error) {
    const { code, message } = error as { code?: never; message: string };
    return { code: code ?? ('ERR_INTERNAL' as never), message };
  }
}

process.stdout.write(JSON.stringify(await report(process.argv[2] ?? '')));
