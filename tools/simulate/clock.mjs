/** Simulated time, and what happens in it: by time, and by the order of its making where times are equal. */
export class Clock {
  /** Milliseconds. */
  now = 0;
  #heap = [];
  #made = 0;

  /** @returns the event, for `cancel()` */
  at(time, action) {
    const event = { time: Math.max(time, this.now), order: this.#made++, action };
    const heap = this.#heap;
    let place = heap.push(event) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!isBefore(event, heap[parent])) break;
      heap[place] = heap[parent];
      place = parent;
    }
    heap[place] = event;
    return event;
  }

  after(milliseconds, action) {
    return this.at(this.now + milliseconds, action);
  }

  cancel(event) {
    if (event) event.action = null;
  }

  /** Until nothing is left to happen. */
  run() {
    while (this.#heap.length > 0) {
      const { time, action } = this.#takeFirst();
      if (action === null) continue; // A deadline that was met must not make the time longer.
      this.now = time;
      action();
    }
  }

  #takeFirst() {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (heap.length === 0) return first;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++;
      if (!isBefore(heap[child], last)) break;
      heap[place] = heap[child];
      place = child;
    }
    heap[place] = last;
    return first;
  }
}

const isBefore = (one, other) =>
  one.time < other.time || (one.time === other.time && one.order < other.order);
