import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Of Linux: the kernel's ticks, a hundredth of a second each. */
const tick = 10;

/** Which share of the cores programs take that are neither this one nor `pids`. Linux only: else it is not known (null). */
export class Neighbours {
  #pids;

  constructor(pids) {
    this.#pids = pids;
  }

  /** Over the time in which `work` runs. */
  async during(work) {
    const before = this.#read();
    const result = await work();
    const after = this.#read();
    if (before === null || after === null) return { result, share: null };
    const own = after.own - before.own;
    return { result, share: Math.max(0, (after.busy - before.busy - own) / (after.all - before.all)) };
  }

  /**
   * Runs `work` when others are quiet, and again where they did not stay so, until `patience` (the time of
   * `performance.now()`) is over. What `work` comes to has no say in it.
   * @param most - share of the cores that others may take
   */
  async quietly(work, { most, patience, progress }) {
    for (;;) {
      while (performance.now() < patience) {
        const { share } = await this.during(() => sleep(1000));
        if (share === null || share <= most) break;
      }
      const { result, share } = await this.during(work);
      if (share === null || share <= most || performance.now() >= patience) return { result, share };
      progress(`once more: other programs took ${Math.round(share * 100)} % of the cores`);
    }
  }

  #read() {
    try {
      const [user, nice, system, idle, wait, ...interrupts] = readFileSync('/proc/stat', 'utf8')
        .split('\n', 1)[0]
        .trim()
        .split(/\s+/)
        .slice(1, 9)
        .map(Number);
      const busy = user + nice + system + interrupts.reduce((sum, each) => sum + each, 0);
      const mine = process.cpuUsage();
      const theirs = this.#pids.map(ticksOf).reduce((sum, ticks) => sum + ticks, 0);
      return { busy, all: busy + idle + wait, own: (mine.user + mine.system) / 1000 / tick + theirs };
    } catch {
      return null;
    }
  }
}

/** User and system time of a process, all its threads. */
function ticksOf(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}
