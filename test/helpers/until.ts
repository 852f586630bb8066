import { setTimeout as wait } from 'node:timers/promises';

type Answer<T> = T | null | false | Promise<T | null | false>;

/**
 * Asks again and again until there is an answer that is neither null nor false. What it waits for must be sure to come: the
 * two minutes only keep a test from hanging, and end it with what was waited for.
 */
export async function until<T>(what: string, ask: () => Answer<T>): Promise<T> {
  const end = performance.now() + 120_000;
  for (;;) {
    const answer = await ask();
    if (answer !== null && answer !== false) return answer;
    if (performance.now() > end) throw new Error(`Waited two minutes for ${what}.`);
    await wait(10);
  }
}

/** Some turns of the event loop: whatever was ready to run has run. */
export async function turns(count = 5): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
}
