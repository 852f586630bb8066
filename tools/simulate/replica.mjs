/**
 * One server: its admission, what it does around the model, the images that wait, and its executors. It follows
 * `lib/server/calls/admission.ts` and `lib/explainer/explainer.ts`; where these change, this must.
 *
 * A request is `{ arrived, deadline, answer(outcome) }`, its outcome 'answered', 'refused' or 'late'.
 */
export class Replica {
  /** Requests on their way. */
  pending = 0;
  mostPending = 0;
  /** Milliseconds in which executors computed, of all of them together. */
  busy = 0;
  batches = 0;
  images = 0;
  #clock;
  #times;
  #settings;
  #mainThread;
  #reading;
  #waiting = [];
  /** Batches that were handed to the executors and are not settled: what `Explainer` counts as running. */
  #running = 0;
  /** Handed over, and in front of busy executors. */
  #handedOver = [];
  /** On executors. */
  #computed = new Set();
  #nextEnd = null;
  #advancedAt = 0;
  #delay = null;

  /**
   * @param times - what things take, as `MeasuredTimes` tells
   * @param settings - `executors`, `maxBatch`, `maxDelayMs`, `maxPending`, and `decodeThreads`: those that make tensors of
   *   pictures; 0 where tensors are sent, which the main thread reads
   */
  constructor(clock, times, settings) {
    this.#clock = clock;
    this.#times = times;
    this.#settings = settings;
    this.#mainThread = new Lanes(clock, 1);
    this.#reading = settings.decodeThreads > 0 ? new Lanes(clock, settings.decodeThreads) : this.#mainThread;
  }

  arrive(request) {
    if (this.pending >= this.#settings.maxPending) {
      request.answer('refused');
      return;
    }
    this.pending++;
    this.mostPending = Math.max(this.mostPending, this.pending);
    request.expiry = this.#clock.at(request.deadline, () => this.#expire(request));
    this.#disturb();
    this.#reading.take(
      () => this.#times.reading(this.#computed.size > 0),
      () => {
        if (request.late) this.#leave();
        else this.#wait(request);
      },
    );
  }

  #wait(request) {
    request.waitsSince = this.#clock.now;
    this.#waiting.push(request);
    this.#startBatches();
  }

  /** As `Explainer` does: one full batch more than there are executors, so that none of them waits. */
  #startBatches() {
    const { executors, maxBatch, maxDelayMs } = this.#settings;
    this.#clock.cancel(this.#delay);
    while (this.#waiting.length > 0) {
      const full = this.#waiting.length >= maxBatch;
      if (this.#running >= executors + (full ? 1 : 0)) return;
      const fillsUntil = this.#waiting[0].waitsSince + maxDelayMs;
      if (!full && fillsUntil > this.#clock.now) {
        this.#delay = this.#clock.at(fillsUntil, () => this.#startBatches());
        return;
      }
      this.#running++;
      const batch = { requests: this.#waiting.splice(0, maxBatch), left: 0 };
      if (this.#computed.size < executors) this.#begin(batch);
      else this.#handedOver.push(batch);
    }
  }

  #begin(batch) {
    this.#advance();
    batch.left = this.#times.batch(batch.requests.length);
    this.batches++;
    this.images += batch.requests.length;
    for (const request of batch.requests) request.startedAt = this.#clock.now;
    this.#computed.add(batch);
    this.#plan();
  }

  #end(batch) {
    this.#advance();
    this.#computed.delete(batch);
    const next = this.#handedOver.shift();
    if (next) this.#begin(next);
    else this.#plan();
    this.#settle(batch);
  }

  #settle(batch) {
    for (const request of batch.requests) this.#finish(request);
    // The event loop sees to the answers before the next batch.
    this.#clock.after(this.#times.turnaround, () => {
      this.#running--;
      this.#startBatches();
    });
  }

  #finish(request) {
    if (request.late) {
      this.#leave();
      return;
    }
    this.#mainThread.take(
      () => this.#times.answering(),
      () => {
        this.#disturb();
        this.#leave();
        if (request.late) return;
        this.#clock.cancel(request.expiry);
        request.answer('answered');
      },
    );
  }

  /** The client is told at once; the place is free when the work is given up. */
  #expire(request) {
    request.late = true;
    const place = this.#waiting.indexOf(request);
    if (place >= 0) {
      this.#waiting.splice(place, 1);
      this.#leave();
    }
    request.answer('late');
    const isGivenUp = (batch) => batch.requests.every(({ late }) => late);
    const handedOver = this.#handedOver.filter(isGivenUp);
    this.#handedOver = this.#handedOver.filter((batch) => !isGivenUp(batch));
    for (const batch of handedOver) this.#settle(batch);
    for (const batch of [...this.#computed].filter(isGivenUp)) this.#end(batch);
  }

  #leave() {
    this.pending--;
  }

  /** A request that is read or answered takes the cores from the batches that are computed: half of it each time. */
  #disturb() {
    if (this.#computed.size === 0 || this.#times.disturbance === 0) return;
    this.#advance();
    for (const batch of this.#computed) batch.left += this.#times.disturbance / 2;
    this.#plan();
  }

  /** What the batches have left is in the time of a batch alone; together they are slower. */
  #advance() {
    const passed = this.#clock.now - this.#advancedAt;
    this.#advancedAt = this.#clock.now;
    const together = this.#computed.size;
    if (passed === 0 || together === 0) return;
    this.busy += passed * together;
    for (const batch of this.#computed) batch.left -= passed / this.#times.slowdown(together);
  }

  #plan() {
    this.#clock.cancel(this.#nextEnd);
    let first = null;
    for (const batch of this.#computed) if (first === null || batch.left < first.left) first = batch;
    if (first === null) return;
    const due = Math.max(0, first.left) * this.#times.slowdown(this.#computed.size);
    this.#nextEnd = this.#clock.after(due, () => this.#end(first));
  }
}

/** So many at once, the others in the order they came. */
class Lanes {
  #clock;
  #free;
  #queue = [];

  constructor(clock, count) {
    this.#clock = clock;
    this.#free = count;
  }

  /** @param duration - asked when the work begins */
  take(duration, done) {
    this.#queue.push({ duration, done });
    this.#next();
  }

  #next() {
    if (this.#free === 0 || this.#queue.length === 0) return;
    const { duration, done } = this.#queue.shift();
    const takes = duration();
    if (takes === 0) {
      done();
      this.#next();
      return;
    }
    this.#free--;
    this.#clock.after(takes, () => {
      this.#free++;
      done();
      this.#next();
    });
  }
}
