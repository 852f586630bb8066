import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

const connectTimeout = 15_000;

/**
 * Downloads an archive, checks it and unpacks it into `folder`.
 * @param {{ url: string, sha256?: string, folder: string, log: (line: string) => void }} options
 * @throws {Error} in a user's words; nothing of the archive stays behind
 */
export async function downloadArchive({ url, sha256, folder, log }) {
  const archive = join(folder, 'download.zip');
  const response = await connect(url);
  const expectedBytes = Number(response.headers.get('content-length')) || null;
  log(`Downloading ${url}${expectedBytes ? ` (${megabytes(expectedBytes)})` : ''}`);
  const hash = createHash('sha256');
  const counter = countBytes(hash, expectedBytes, log);
  try {
    await pipeline(Readable.fromWeb(response.body), counter.stream, createWriteStream(archive));
  } catch (cause) {
    throw new Error(`the download broke off after ${megabytes(counter.bytes())}`, { cause });
  }
  const actual = hash.digest('hex');
  if (sha256 && actual !== sha256.toLowerCase()) {
    throw new Error(
      `the file has the wrong checksum (SHA-256 ${actual} instead of ${sha256}); it was thrown away`,
    );
  }
  if (!sha256) log('This archive is not verified: set LIBTORCH_SHA256 to check it.');
  log('Unpacking');
  try {
    // CMake is needed for the build anyway, and unpacks everywhere alike.
    await promisify(execFile)('cmake', ['-E', 'tar', 'xf', archive], { cwd: folder });
  } catch (cause) {
    throw new Error('the archive could not be unpacked (CMake is needed for that)', { cause });
  }
  rmSync(archive);
}

async function connect(url) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), connectTimeout);
  try {
    const response = await fetch(url, { signal: controller.signal });
    if (!response.ok) throw new Error(`the server answered ${response.status} ${response.statusText}`.trim());
    return response;
  } catch (error) {
    if (error.message.startsWith('the server')) throw error;
    throw new Error(`${new URL(url).host} could not be reached`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** A stream that hashes what passes and tells the progress, every tenth of the whole. */
function countBytes(hash, expectedBytes, log) {
  let bytes = 0;
  let told = 0;
  const stream = new Transform({
    transform(chunk, _encoding, done) {
      hash.update(chunk);
      bytes += chunk.length;
      const tenth = expectedBytes ? Math.floor((bytes / expectedBytes) * 10) : 0;
      if (tenth > told && expectedBytes > 10e6) {
        told = tenth;
        log(`  ${tenth * 10} % of ${megabytes(expectedBytes)}`);
      }
      done(null, chunk);
    },
  });
  return { stream, bytes: () => bytes };
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0)} MB`;
}
