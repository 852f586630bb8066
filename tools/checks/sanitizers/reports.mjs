// What the sanitizers' reports say of our code. LeakSanitizer's own suppressions match any frame of a stack, and Node's are
// in nearly all of ours, so they would hide our leaks too. Every leak is reported instead, and judged here.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ours = /gradcam\.node|\/native\/(api|core|binding)\//;
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
 * Whether a race is ours: our code is in one of the two accesses. ThreadSanitizer does not see how V8 and LibTorch, which
 * are not instrumented, keep their threads apart by atomics, and reports what they do right.
 */
export function isOurRace(race) {
  const accesses =
    race.match(/^ {2}(?:Previous )?(?:atomic )?(?:read|write) of size .*\n(?: {4}.*\n)+/gim) ?? [];
  return accesses.length === 0 || accesses.some((access) => ours.test(access));
}

/**
 * @param {string} folder with the sanitizers' reports, one a file
 * @returns {{ reports: string[], leaks: number, ignored: number, unknown: number }} what counts, how many of it are leaks,
 *   how many leaks and races do not count, and in how many processes LeakSanitizer itself failed
 */
export function judgeReports(folder) {
  const reports = [];
  let leaks = 0;
  let ignored = 0;
  let unknown = 0;
  for (const name of readdirSync(folder).sort()) {
    const text = readFileSync(join(folder, name), 'utf8');
    if (/WARNING: ThreadSanitizer/.test(text)) {
      const races = text.split('==================').filter((part) => /WARNING: ThreadSanitizer/.test(part));
      const counting = races.filter(isOurRace);
      reports.push(...counting);
      ignored += races.length - counting.length;
      continue;
    }
    if (/LeakSanitizer has encountered a fatal error/.test(text) && !/ERROR:/.test(text)) {
      unknown++;
      continue;
    }
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
  return { reports: [...new Set(reports)], leaks, ignored, unknown };
}
