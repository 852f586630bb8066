// What the sanitizers' reports say of our code. LeakSanitizer's own suppressions match any frame of a stack, and Node's are
// in nearly all of ours, so they would hide our leaks too. Every leak is reported instead, and judged here.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ours = /gradcam\.node|\/native\/(core|binding)\//;
const nodes = /\/bin\/node\+|\bnapi_\w+ |\bnode::|\bv8::/;

/**
 * Whether a leak is ours: of the frames from the allocation outwards, our code comes before Node's. What Node and V8
 * allocate, be it on a call of ours (a record of an external value, the promise of a job that process.exit() cut off, the
 * shape of an object), is reachable from V8's heap alone, which LeakSanitizer does not search, or left to the system at
 * exit. What LibTorch allocates on a call of ours is ours to free.
 */
export function isOurs(leak) {
  const frame = leak.split('\n').find((line) => ours.test(line) || nodes.test(line));
  return frame !== undefined && ours.test(frame);
}

/**
 * @param {string} folder with the sanitizers' reports, one a file
 * @returns {{ reports: string[], leaks: number, ignored: number }} what counts, and how many leaks did not
 */
export function judgeReports(folder) {
  const reports = [];
  let leaks = 0;
  let ignored = 0;
  for (const name of readdirSync(folder).sort()) {
    const text = readFileSync(join(folder, name), 'utf8');
    if (!/ERROR: LeakSanitizer/.test(text)) {
      reports.push(text);
      continue;
    }
    for (const leak of text.match(/^(Direct|Indirect) leak of .*\n(?: +#.*\n)+/gm) ?? []) {
      if (isOurs(leak)) {
        leaks++;
        reports.push(leak);
      } else ignored++;
    }
  }
  return { reports: [...new Set(reports)], leaks, ignored };
}
