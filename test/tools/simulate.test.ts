import test from 'ava';
import fc from 'fast-check';
import { rootUrl } from '../helpers/root.js';

// The simulation behind docs/capacity.md, against what queueing theory and a pencil give.

const { simulateServers, percentile } = await import(rootUrl('tools/simulate/servers.mjs'));
const { simulateBatch, redisBytes } = await import(rootUrl('tools/simulate/batch-workers.mjs'));
const { arrivalTimes, seeded } = await import(rootUrl('bench/server/arrivals.mjs'));

interface Times {
  batch(size: number): number;
  reading(busy: boolean): number;
  answering(): number;
  slowdown(together: number): number;
  disturbance: number;
  turnaround: number;
}

/** Nothing takes time but the batches. */
const onlyBatches = (batch: Times['batch'], others: Partial<Times> = {}) => {
  const times: Times = {
    batch,
    reading: () => 0,
    answering: () => 0,
    slowdown: () => 1,
    disturbance: 0,
    turnaround: 0,
    ...others,
  };
  return () => times;
};

const endless = { maxPending: Number.POSITIVE_INFINITY, deadlineMs: Number.POSITIVE_INFINITY };

/** The mean, and its standard error from the means of fifty stretches: waits that follow each other are alike. */
function meanOf(waits: number[]): { mean: number; error: number } {
  const average = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const stretches = 50;
  const length = Math.floor(waits.length / stretches);
  const means = Array.from({ length: stretches }, (_, index) =>
    average(waits.slice(index * length, (index + 1) * length)),
  );
  const mean = average(means);
  const variance = means.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (stretches - 1);
  return { mean, error: Math.sqrt(variance / stretches) };
}

// Services of 10 ms on average, at random times.
const service = 10;
const random = seeded(11);
const exponential = () => -service * Math.log(1 - random());
const constant = () => service;
/** One in ten takes 55 ms, the others 5: a squared coefficient of variation of 2.25. */
const mostlyShort = () => (random() < 0.1 ? 55 : 5);

/** Pollaczek and Khinchine: the mean wait in a queue with one server. */
const oneServer = (load: number, squaredVariation: number) =>
  (service * load * (1 + squaredVariation)) / (2 * (1 - load));

/** Erlang C: the mean wait with several servers and exponential services. */
function severalServers(servers: number, load: number): number {
  const offered = servers * load;
  let term = 1; // offered^k / k!
  let sum = 0;
  for (let busy = 0; busy < servers; busy++) {
    sum += term;
    term *= offered / (busy + 1);
  }
  const waiting = term / (1 - load) / (sum + term / (1 - load));
  return (waiting * service) / (servers * (1 - load));
}

test('the formulas that the simulation is held against give the values of the textbooks', (t) => {
  t.is(oneServer(0.5, 1), 10);
  t.is(oneServer(0.5, 0), 5);
  // Two servers: the wait is load^2 / (1 - load^2) services.
  t.true(Math.abs(severalServers(2, 0.8) - (service * 0.64) / 0.36) < 1e-9);
  t.true(Math.abs(severalServers(1, 0.8) - oneServer(0.8, 1)) < 1e-9);
});

for (const [name, executors, load, batch, expected] of [
  ['M/M/1 at a load of 0.5', 1, 0.5, exponential, oneServer(0.5, 1)],
  ['M/M/1 at a load of 0.8', 1, 0.8, exponential, oneServer(0.8, 1)],
  ['M/D/1 at a load of 0.8', 1, 0.8, constant, oneServer(0.8, 0)],
  ['M/G/1 at a load of 0.7', 1, 0.7, mostlyShort, oneServer(0.7, 2.25)],
  ['M/M/2 at a load of 0.8', 2, 0.8, exponential, severalServers(2, 0.8)],
  ['M/M/5 at a load of 0.7', 5, 0.7, exponential, severalServers(5, 0.7)],
] as const) {
  test(`${name}: the mean wait is that of the formula`, (t) => {
    const requests = 200_000;
    const rate = (1000 * executors * load) / service;
    const { waits, utilisation, answered, arrived } = simulateServers({
      load: { arrivals: arrivalTimes({ rate, seconds: requests / rate, spacing: 'poisson', seed: 5 }) },
      times: onlyBatches(batch),
      executors,
      maxBatch: 1,
      warmUp: 2000,
      ...endless,
    });
    const { mean, error } = meanOf(waits);
    t.is(answered, arrived);
    t.true(error < 0.05 * expected, `the run is long enough to tell: ${error}`);
    t.true(Math.abs(mean - expected) < 3 * error, `${mean} +- ${error}, not ${expected}`);
    t.true(Math.abs(utilisation - load) < 0.01, `${utilisation}`);
  });
}

test('evenly spaced requests below the capacity never wait', (t) => {
  const { waits, latencies } = simulateServers({
    load: { arrivals: arrivalTimes({ rate: 90, seconds: 10, spacing: 'even' }) },
    times: onlyBatches(constant),
    maxBatch: 1,
  });
  t.is(waits.length, 900);
  t.true(waits.every((wait: number) => wait === 0));
  t.true(Math.abs(percentile(latencies, 0.99) - service) < 1e-6);
});

/** In the order of the answers they are sorted: the examples say them sorted, too. */
const latenciesOf = (arrivals: number[], settings: object) => {
  const found = simulateServers({ load: { arrivals }, ...settings });
  return { ...found, latencies: [...found.latencies] };
};
const sorted = (...values: number[]) => values.sort((a, b) => a - b);

test('batches by hand: what waits goes together, and one full batch is handed over ahead', (t) => {
  // 0: A starts alone, until 10. 1: B waits. 2: with C a full batch, handed over ahead. 3: D waits, and goes on waiting at 10,
  // when B and C start at once, until 26. D was not handed over: alone from 27 to 37; E, of 30, from 38 to 48.
  const { latencies, meanBatch } = latenciesOf([0, 1, 2, 3, 30], {
    maxBatch: 2,
    times: onlyBatches((size) => (size === 1 ? 10 : 16), { turnaround: 1 }),
  });
  t.deepEqual(latencies, sorted(10, 26 - 1, 26 - 2, 37 - 3, 48 - 30));
  t.is(meanBatch, 5 / 4);
});

test('batches by hand: with a delay an image waits for others, and no longer', (t) => {
  // A and B start at 5, until 21. C, of 20, would start at 25; with D of 21 and E of 22 the batch is full: until 42.
  const { latencies } = latenciesOf([0, 2, 20, 21, 22], {
    maxBatch: 3,
    maxDelayMs: 5,
    times: onlyBatches((size) => 8 + 4 * size),
  });
  t.deepEqual(latencies, sorted(21, 19, 42 - 20, 42 - 21, 42 - 22));
});

test('batches by hand: two at once slow each other while both run', (t) => {
  // A alone until 4, with 6 left. Then both at two thirds: A ends at 4 + 9 = 13, when B has 10 - 6 = 4 left, until 17.
  const { latencies, utilisation } = latenciesOf([0, 4], {
    executors: 2,
    times: onlyBatches(constant, { slowdown: (together) => (together === 1 ? 1 : 1.5) }),
  });
  t.deepEqual(latencies, sorted(13, 13));
  t.true(Math.abs(utilisation - 26 / 34) < 1e-12);
});

test('batches by hand: reading and answering take the main thread, and time from what is computed', (t) => {
  // A is read until 1 and computed until 11; B, of 5, makes that 12 and is read until 6. A is answered at 13, B starts at
  // 12.5 and would end at 22.5; A's answer makes that 23.5, and B's is there at 24.5.
  const { latencies } = latenciesOf([0, 5], {
    times: onlyBatches(constant, { reading: () => 1, answering: () => 1, disturbance: 2, turnaround: 0.5 }),
  });
  t.deepEqual(latencies, sorted(13, 19.5));
});

test('by hand: pictures are decoded at once by as many threads as there are, tensors are read one by one', (t) => {
  const at = { executors: 3, maxBatch: 1, times: onlyBatches(constant, { reading: () => 4 }) };
  t.deepEqual(latenciesOf([0, 0, 0], at).latencies, [14, 18, 22]);
  t.deepEqual(latenciesOf([0, 0, 0], { ...at, decodeThreads: 2 }).latencies, [14, 14, 18]);
});

test('by hand: a full server refuses, and a place is free when the answer is out', (t) => {
  const { latencies, refused, answered, mostPending } = latenciesOf([0, 1, 2, 11], {
    maxBatch: 1,
    maxPending: 2,
    times: onlyBatches(constant),
  });
  t.deepEqual(latencies, sorted(10, 20 - 1, 30 - 11));
  t.deepEqual([refused, answered, mostPending], [1, 3, 2]);
});

test('by hand: at its deadline a request is late, waiting or computed, and its place is free', (t) => {
  // A until 10. B, of 1, runs from 10 and is given up at 16; C, of 2, runs from 16 to 17. D starts when it comes.
  const { latencies, late, answered } = latenciesOf([0, 1, 2, 17.5], {
    maxBatch: 1,
    deadlineMs: 15,
    times: onlyBatches(constant),
  });
  t.deepEqual(latencies, [10, 10]);
  t.deepEqual([late, answered], [2, 2]);
});

test('by hand: a balancer in turn sends to the busy server, one that counts connections does not', (t) => {
  // The first takes 100 ms, the others 10: in turn, the third waits for it.
  const batch = () => {
    let first = true;
    return () => {
      const takes = first ? 100 : 10;
      first = false;
      return takes;
    };
  };
  const replicas = () => {
    const [slow, quick] = [onlyBatches(batch())(), onlyBatches(constant)()];
    const made = [slow, quick];
    return () => made.shift();
  };
  const inTurn = latenciesOf([0, 1, 20], { replicas: 2, times: replicas() });
  t.deepEqual(inTurn.latencies, sorted(100, 10, 110 - 20));
  const counted = latenciesOf([0, 1, 20], { replicas: 2, times: replicas(), balancer: 'least-connections' });
  t.deepEqual(counted.latencies, sorted(100, 10, 10));
});

test('connections that ask again when they have their answer keep the batches full', (t) => {
  const { answered, perSecond, meanBatch, latencies } = simulateServers({
    load: { connections: 8, requests: 4000 },
    maxBatch: 4,
    times: onlyBatches((size) => 10 + 5 * size),
    warmUp: 80,
  });
  t.is(answered, 4000);
  // Little: 8 connections, 4 images each 30 ms.
  t.true(Math.abs(perSecond - 4000 / 30) < 1, `${perSecond}`);
  t.is(percentile(latencies, 0.5), 60);
  t.true(meanBatch > 3.9);
});

test('whatever the load and the limits: what arrived was answered, refused or late, and none came after its deadline', (t) => {
  const settings = fc.record({
    replicas: fc.integer({ min: 1, max: 4 }),
    balancer: fc.constantFrom('round-robin', 'least-connections'),
    executors: fc.integer({ min: 1, max: 3 }),
    maxBatch: fc.integer({ min: 1, max: 5 }),
    maxDelayMs: fc.constantFrom(0, 3, 30),
    maxPending: fc.integer({ min: 1, max: 20 }),
    deadlineMs: fc.constantFrom(15, 40, 1000),
    decodeThreads: fc.integer({ min: 0, max: 2 }),
    rate: fc.integer({ min: 20, max: 1500 }),
    seed: fc.integer({ min: 1, max: 1000 }),
  });
  const seen = { answered: 0, refused: 0, late: 0 };
  fc.assert(
    fc.property(settings, ({ rate, seed, ...given }) => {
      const own = seeded(seed);
      const { arrived, answered, refused, late, latencies, mostPending } = simulateServers({
        load: { arrivals: arrivalTimes({ rate, seconds: 500 / rate, spacing: 'poisson', seed }) },
        times: onlyBatches((size) => (4 + 3 * size) * (0.5 + own()), {
          reading: () => own(),
          answering: () => own(),
          slowdown: (together) => 1 + (together - 1) / 4,
          disturbance: 0.5,
          turnaround: 0.25,
        }),
        ...given,
      });
      seen.answered += answered;
      seen.refused += refused;
      seen.late += late;
      return (
        arrived === answered + refused + late &&
        latencies.length === answered &&
        latencies.every((latency: number) => latency > 0 && latency <= given.deadlineMs) &&
        mostPending <= given.maxPending
      );
    }),
    { numRuns: 150, seed: 3 },
  );
  for (const [outcome, count] of Object.entries(seen)) t.true(count > 1000, `${count} ${outcome}`);
});

test('the same seed gives the same run, another seed another one', (t) => {
  const run = (seed: number) => {
    const own = seeded(seed);
    return simulateServers({
      load: { arrivals: arrivalTimes({ rate: 80, seconds: 20, spacing: 'poisson', seed }) },
      replicas: 2,
      times: onlyBatches((size) => 20 * size * own()),
    });
  };
  t.deepEqual(run(1), run(1));
  t.notDeepEqual(run(1).latencies, run(2).latencies);
});

const scripted = (...values: number[]) => {
  return () => {
    const value = values.shift();
    if (value === undefined) throw new Error('More chance was asked for than is expected.');
    return value;
  };
};

test('batch workers by hand: five chunks, two workers', (t) => {
  // 1-11, 13-23, 25-35 and 1-11, 13-23.
  const found = simulateBatch({
    chunks: 5,
    workers: 2,
    chunkMs: () => 10,
    startMs: 1,
    betweenMs: 2,
    random: () => 0.5,
  });
  t.like(found, { milliseconds: 35, done: 5, failed: 0, retries: 0, attempts: 5 });
  t.true(Math.abs(found.utilisation - 50 / 70) < 1e-12);
});

test('batch workers by hand: a chunk that fails keeps what is done, waits and goes to the end of the queue', (t) => {
  // The first fails at 50 and may be tried at 1050; the second until 150; the rest of the first until 1100.
  const found = simulateBatch({
    chunks: 2,
    workers: 1,
    chunkMs: () => 100,
    failureRate: 0.1,
    random: scripted(0.05, 0.5, 0.9, 0.9),
  });
  t.like(found, { milliseconds: 1100, done: 2, failed: 0, retries: 1, attempts: 3 });
});

test('batch workers by hand: the wait doubles, and the last attempt is the last', (t) => {
  // Fails at once each time: at 0, 1000 and 3000.
  const found = simulateBatch({
    chunks: 1,
    workers: 1,
    chunkMs: () => 100,
    failureRate: 0.1,
    random: scripted(0.05, 0, 0.05, 0, 0.05, 0),
  });
  t.like(found, { milliseconds: 3000, done: 0, failed: 1, retries: 2, attempts: 3 });
});

test("batch workers by hand: a lost worker's chunk is taken over, before others that wait", (t) => {
  // It starts at 10 and is lost at 50, with 60 ms of the first chunk left; there again at 60 with the second, until 160. The
  // first waits from 80 on and goes before the third. It fails half way, at 190, and waits until 1190; the third from 190
  // to 290; the rest of the first until 1220.
  const found = simulateBatch({
    chunks: 3,
    workers: 1,
    chunkMs: () => 100,
    lossRate: 0.1,
    failureRate: 0.1,
    startMs: 10,
    takeOverMs: 30,
    random: scripted(0.05, 0.4, 0.9, 0.15, 0.5, 0.9, 0.9),
  });
  t.like(found, { milliseconds: 1220, done: 3, losses: 1, retries: 1, attempts: 5 });
});

test('batch workers by hand: a chunk whose workers were lost three times is failed', (t) => {
  const found = simulateBatch({
    chunks: 1,
    workers: 1,
    chunkMs: () => 100,
    lossRate: 0.1,
    takeOverMs: 1000,
    random: scripted(0.05, 0, 0.05, 0, 0.05, 0),
  });
  t.like(found, { milliseconds: 2000, done: 0, failed: 1, losses: 3 });
});

test('a million images by hand, and their memory', (t) => {
  const found = simulateBatch({
    chunks: 15_625,
    workers: 10,
    chunkMs: () => 3200,
    random: () => 0.5,
  });
  // 1563 rounds, the last one with five chunks.
  t.is(found.milliseconds, 1563 * 3200);
  const batch = { redisChunkBytes: 1000, redisPathBytes: 3 };
  t.is(
    redisBytes(batch, { images: 1_000_000, chunkSize: 64, pathLength: 60 }),
    15_625 * 1000 + 1_000_000 * 63,
  );
});
