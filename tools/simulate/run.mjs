// npm run simulate: how many replicas, executors, batches and queue places a load needs. docs/capacity.md tells how to use it.
import { existsSync, readFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { seeded } from '../../bench/server/arrivals.mjs';
import { commandOf, parseWhole } from '../checks/command.mjs';
import { redisBytes, simulateBatch } from './batch-workers.mjs';
import { checkServer, withServer } from './check.mjs';
import { describeMachine, measureServer } from './measure-server.mjs';
import { readTimes, writeTimes } from './measured-times.mjs';
import { search } from './search.mjs';
import { batchReport, checkReport, searchReport } from './tables.mjs';

const timesFile = 'output/times.json';

const program = commandOf(
  'simulate',
  'How many replicas, executors, batches and queue places a load needs, from times that were measured on a real server.',
);

program
  .command('size', { isDefault: true })
  .description('The fewest cores that answer 99 of 100 of the requests in time.')
  .requiredOption('--rate <number>', 'requests a second, of all replicas together', parseNumber)
  .requiredOption('--p99 <ms>', 'in which 99 of 100 must be answered', parseNumber)
  .option('--times <files...>', 'what `measure` wrote, one for each way to divide the cores', [timesFile])
  .option('--replicas <count>', 'only so many', parseCount)
  .option('--max-batch <count>', 'only this one', parseCount)
  .option('--max-pending <count>', 'only this one; default: what a replica answers in that time', parseCount)
  .option('--max-delay <ms>', 'how long an image waits for a fuller batch; default: 0', parseNumber)
  .option('--deadline <ms>', 'of requests; default: 60000', parseNumber)
  .option('--balancer <name>', 'round-robin (default) or least-connections', parseBalancer)
  .option('--even', 'requests come evenly spaced, not at random')
  .action(size);

program
  .command('batch')
  .description('What a batch of very many images takes, by the number of workers, each on cores of its own.')
  .option('--times <file>', 'what `measure-batch` wrote', timesFile)
  .option('--images <count>', 'of the batch', parseCount, 1_000_000)
  .option('--workers <list>', 'by comma', (text) => text.split(',').map(parseCount), [1, 4, 16, 64])
  .option(
    '--failure-rate <share>',
    'of the attempts at a chunk that fail for a reason that may pass',
    parseShare,
    0,
  )
  .option('--loss-rate <share>', 'of the attempts at a chunk whose worker is lost', parseShare, 0)
  .option('--attempts <count>', 'at a chunk', parseCount, 3)
  .option('--take-over <seconds>', 'until the chunk of a lost worker is taken over', parseNumber, 30)
  .option('--path-length <bytes>', "of a picture's path", parseCount, 60)
  .option('--seed <number>', 'of chance', parseWhole, 1)
  .action(batch);

serverOptions(
  program
    .command('measure')
    .description('Measures what `size` needs, on a server that is there and idle, or on one that is started.')
    .option(
      '--url <url>',
      'of the server, with --model; --executors and --threads must be what it was started with',
    )
    .option('--file <path>', 'instead: a TorchScript file, for which a server is started here')
    .option('--model <name>', 'of the server'),
)
  .option('--seconds <count>', 'how long, about', parseNumber, 40)
  .option('--out <file>', 'is written; what it has of batches stays', timesFile)
  .action(measure);

program
  .command('measure-batch')
  .description('Measures what `batch` needs: one worker, and a Redis that is started here.')
  .requiredOption('--file <path>', 'TorchScript file')
  .requiredOption('--picture <file>', 'whose copies are explained')
  .option('--chunk <count>', 'images in a chunk', parseCount, 64)
  .option('--chunks <count>', 'that are explained; the first warms up', parseCount, 8)
  .option('--batch-size <count>', 'images in one forward, at most', parseCount, 8)
  .option('--out <file>', 'is written; what it has of servers stays', timesFile)
  .action(measureBatchOf);

serverOptions(
  program
    .command('check')
    .description(
      'Starts a server, measures it, asks it at random times at several loads, and prints its latencies beside the simulated ones. Ends with 1 where one is too far away.',
    )
    .requiredOption('--model <file>', 'TorchScript file'),
)
  .option(
    '--loads <list>',
    'shares of what the server can do, by comma',
    (text) => text.split(',').map(parseShare),
    [0.3, 0.6, 0.85],
  )
  .option('--rounds <count>', 'in which each load has its turn', parseCount, 3)
  .option('--seconds <count>', 'of each load in a round', parseNumber, 20)
  .option('--measure <seconds>', 'how long is measured in each round', parseNumber, 25)
  .option(
    '--quiet <share>',
    'of the cores that other programs may take in a turn; else it is repeated',
    parseShare,
    0.05,
  )
  .option('--patience <seconds>', 'how long turns are repeated, in all', parseNumber, 600)
  .option('--within <share>', 'that p50 and p99 may be away', parseShare, 0.2)
  .action(check);

await program.parseAsync();

function serverOptions(command) {
  return command
    .option(
      '--layer <path>',
      "to explain, of a server that is started; default: the sidecar's, or the suggested one",
    )
    .option('--executors <count>', 'of the server', parseCount, 1)
    .option('--threads <count>', 'of each executor', parseCount)
    .option('--max-batch <count>', 'of the server', parseCount, 8)
    .option('--picture <file>', 'to send, instead of tensors')
    .option('--decode-threads <count>', 'of the server, where pictures are sent', parseCount, 2)
    .option('--size <CxHxW>', 'of the input, where the server does not know it: 3x224x224', parseSize);
}

async function size({ rate, p99, times: files, maxDelay, deadline, even, ...fixed }) {
  const servers = files.map((file) => {
    const { server } = readTimesOrEnd(file);
    return server ?? end(`'${file}' has no times of a server. Measure them: npm run simulate -- measure`);
  });
  const rows = search({
    servers,
    rate,
    p99,
    fixed: defined({
      ...fixed,
      maxDelayMs: maxDelay,
      deadlineMs: deadline,
      spacing: even ? 'even' : undefined,
    }),
  });
  console.log(searchReport(rows, { rate, p99 }));
  if (!rows.some(({ chosen }) => chosen)) process.exitCode = 1;
}

function batch({
  times: file,
  images,
  workers,
  pathLength,
  takeOver,
  failureRate,
  lossRate,
  attempts,
  seed,
}) {
  const { batch: times } = readTimesOrEnd(file);
  if (!times) end(`'${file}' has no times of batches. Measure them: npm run simulate -- measure-batch`);
  const { chunkSize } = times;
  const rows = workers.map((count) => {
    const random = seeded(seed);
    const found = simulateBatch({
      chunks: Math.ceil(images / chunkSize),
      workers: count,
      chunkMs: () => times.chunks[Math.floor(random() * times.chunks.length)],
      failureRate,
      lossRate,
      attempts,
      takeOverMs: takeOver * 1000,
      startMs: times.start,
      betweenMs: times.between,
      random,
    });
    return {
      workers: count,
      images,
      redisBytes: redisBytes(times, { images, chunkSize, pathLength }),
      ...found,
    };
  });
  console.log(
    `${images} images in ${Math.ceil(images / chunkSize)} chunks of ${chunkSize}\n\n${batchReport(rows)}`,
  );
}

async function measure({ url, file, model, layer, out, picture, ...how }) {
  if ((url === undefined) === (file === undefined)) end('Give --url with --model, or --file.');
  if (url !== undefined && model === undefined) end('Which --model of the server?');
  const machine = describeMachine();
  const given = { ...how, ...(picture === undefined ? {} : { picture: readFileSync(picture) }), progress };
  const server =
    url === undefined
      ? await withServer({ ...started(how), path: resolve(file), layer }, (own) =>
          measureServer({ ...given, ...started(how), url: own, model: 'model' }),
        )
      : await measureServer({ ...given, url, model });
  keep(out, 'server', { model: model ?? basename(file), machine, ...server });
}

async function measureBatchOf({ file, picture, chunk, chunks, batchSize, out }) {
  const machine = describeMachine();
  const { measureBatch } = await import('./measure-batch.mjs');
  const measured = await measureBatch({
    model: resolve(file),
    picture: readFileSync(picture),
    chunkSize: chunk,
    chunks,
    batchSize,
    progress,
  });
  keep(out, 'batch', { model: basename(file), machine, ...measured });
}

async function check({
  model: path,
  layer,
  loads,
  rounds,
  seconds,
  measure: measureSeconds,
  quiet,
  patience: patienceSeconds,
  within,
  picture,
  ...how
}) {
  const settings = started(how);
  const before = describeMachine();
  const found = await withServer({ ...settings, path: resolve(path), layer }, (url, pid) =>
    checkServer({
      ...how,
      ...settings,
      ...(picture === undefined ? {} : { picture: readFileSync(picture) }),
      url,
      model: 'model',
      shares: loads,
      rounds,
      seconds,
      measureSeconds,
      pid,
      quiet,
      patienceSeconds,
      progress,
    }),
  );
  const { processor, cores, loadAverage } = before;
  console.log(
    `${basename(path)}, ${settings.executors} x ${settings.threads} threads, batches of up to ${settings.maxBatch}; ${processor}, ${cores} cores, load average ${loadAverage} before, ${describeMachine().loadAverage} after\n`,
  );
  console.log(checkReport(found, within));
  const isAway = ({ real, simulated }) =>
    ['p50', 'p99'].some((name) => !(Math.abs(simulated[name] / real[name] - 1) <= within));
  if (found.rows.some((row) => isAway(row) || row.errors > 0)) process.exitCode = 1;
}

/** All cores, where it is not said. */
function started({ executors, threads, maxBatch }) {
  const { cores } = describeMachine();
  return { executors, maxBatch, threads: threads ?? Math.max(1, Math.floor(cores / executors)) };
}

/** Beside the other part, if the file has it. */
function keep(out, name, part) {
  const known = existsSync(out) ? readTimesOrEnd(out) : {};
  writeTimes(out, { ...known, version: 1, [name]: { date: new Date().toISOString(), ...part } });
  console.error(`Written to ${out}`);
}

function readTimesOrEnd(file) {
  try {
    return readTimes(file);
  } catch (error) {
    return end(error.message);
  }
}

function end(message) {
  console.error(message);
  process.exit(2);
}

function progress(text) {
  console.error(text);
}

function defined(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function parseNumber(text) {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError('It must be a number above 0.');
  return value;
}

function parseCount(text) {
  const value = parseWhole(text);
  if (value === 0) throw new InvalidArgumentError('It must be 1 or more.');
  return value;
}

function parseShare(text) {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError('It must be from 0 to 1.');
  return value;
}

function parseBalancer(text) {
  if (text === 'round-robin' || text === 'least-connections') return text;
  throw new InvalidArgumentError("It must be 'round-robin' or 'least-connections'.");
}

function parseSize(text) {
  const lengths = text.split('x').map(Number);
  if (lengths.length === 3 && lengths.every((length) => Number.isInteger(length) && length > 0))
    return lengths;
  throw new InvalidArgumentError('It must be channels, height and width: 3x224x224.');
}
