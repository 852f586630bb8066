import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What a run of a benchmark has: a folder that goes away with it, and lines that say how far it is. */
export function startSession() {
  const folder = mkdtempSync(join(tmpdir(), 'gradcam-bench-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  process.once('SIGINT', () => process.exit(130));
  process.once('SIGTERM', () => process.exit(143));
  const started = performance.now();
  const progress = (text) => {
    const seconds = Math.round((performance.now() - started) / 1000);
    const minutes = String(Math.floor(seconds / 60)).padStart(2);
    console.error(`[${minutes}:${String(seconds % 60).padStart(2, '0')}] ${text}`);
  };
  return { folder, progress };
}
