import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { EnvHttpProxyAgent, fetch } from 'undici';

/** How archives are fetched; milliseconds until a server that does not answer, or stops sending, is given up. */
export const defaultNetwork = { fetch, connectTimeout: 10_000, stallTimeout: 60_000 };

/** What came is not what was to come: whoever changed it, nothing that came that way is to be trusted. */
export class WrongArchiveError extends Error {
  name = 'WrongArchiveError';
}

/**
 * Downloads an archive, checks its size and checksum and unpacks it into `folder`.
 * @param {{ url: string, sha256?: string, bytes?: number }} archive
 * @param {string} folder
 * @param {object} context
 * @param {NodeJS.ProcessEnv} context.env `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, in capitals or not
 * @param {(line: string) => void} context.log
 * @param {AbortSignal} context.signal
 * @param {typeof defaultNetwork} context.network
 * @throws {Error} in a user's words
 */
export async function downloadArchive({ url, sha256, bytes }, folder, { env, log, signal, network }) {
  if (!URL.canParse(url)) throw new Error('it is not a URL');
  if (!sha256) refuseUnlessSafe(url);
  const file = join(folder, 'download.zip');
  // The query may hold a token.
  const shownUrl = new URL(url).origin + new URL(url).pathname;
  log(`Downloading LibTorch from ${shownUrl}${bytes ? ` (${megabytes(bytes)})` : ''}`);
  if (!sha256) log('Warning: this archive is not verified; set LIBTORCH_SHA256 to its SHA-256 to check it.');
  const proxies = proxiesOf(env);
  const context = { log, signal, network, proxies, verified: Boolean(sha256) };
  const received = await fetchFile(url, file, context).finally(() => proxies.destroy());
  if (bytes && received.bytes !== bytes) {
    throw new WrongArchiveError(`the file has the wrong size (${received.bytes} instead of ${bytes} bytes)`);
  }
  if (sha256 && received.sha256 !== sha256.toLowerCase()) {
    throw new WrongArchiveError(
      `WRONG CHECKSUM: SHA-256 ${received.sha256} instead of ${sha256}; the file was thrown away`,
    );
  }
  log('Unpacking');
  await unpack(file, folder, signal);
  rmSync(file);
}

/** What comes over plain HTTP, anybody on the way can change. */
function refuseUnlessSafe(url) {
  if (new URL(url).protocol === 'https:') return;
  throw new Error(
    'an archive that is not fetched by https needs its SHA-256 in LIBTORCH_SHA256, since it can be changed on its way',
  );
}

/** Node's own fetch() goes through no proxy before Node 24. */
function proxiesOf(env) {
  const variable = (name) => env[name] ?? env[name.toUpperCase()] ?? '';
  return new EnvHttpProxyAgent({
    httpProxy: variable('http_proxy'),
    httpsProxy: variable('https_proxy'),
    noProxy: variable('no_proxy'),
    proxyTunnel: false, // of http; https always has a tunnel
  });
}

async function fetchFile(url, file, { log, signal, network, proxies, verified }) {
  const giveUp = new AbortController();
  const options = { signal: AbortSignal.any([signal, giveUp.signal]), dispatcher: proxies };
  const connecting = setTimeout(() => giveUp.abort(), network.connectTimeout);
  let response;
  try {
    response = await network.fetch(url, options);
  } catch (cause) {
    const reason = giveUp.signal.aborted
      ? `no answer in ${network.connectTimeout / 1000} s`
      : reasonOf(cause);
    throw new Error(`${new URL(url).host} could not be reached (${reason})`, { cause });
  } finally {
    clearTimeout(connecting);
  }
  if (response.redirected && !verified) refuseUnlessSafe(response.url);
  if (!response.ok) throw new Error(`the server answered ${response.status} ${response.statusText}`.trim());

  const stalling = setTimeout(() => giveUp.abort(), network.stallTimeout);
  const hash = createHash('sha256');
  const tellProgress = progress(Number(response.headers.get('content-length')), log);
  let bytes = 0;
  const counter = new Transform({
    transform(chunk, _encoding, done) {
      stalling.refresh();
      hash.update(chunk);
      bytes += chunk.length;
      tellProgress(bytes);
      done(null, chunk);
    },
  });
  try {
    await pipeline(Readable.fromWeb(response.body), counter, createWriteStream(file), options);
  } catch (cause) {
    if (cause.syscall) throw new Error(`the file could not be written: ${cause.message}`, { cause });
    throw new Error(`the download broke off after ${megabytes(bytes)}`, { cause });
  } finally {
    clearTimeout(stalling);
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** What lies behind "fetch failed": the words that say most are the innermost. */
function reasonOf(error) {
  let inner = error;
  while (inner.cause) inner = inner.cause;
  return inner.message || inner.code || error.message;
}

/** CMake is needed for the build anyway, and unpacks everywhere alike. */
async function unpack(file, folder, signal) {
  try {
    await promisify(execFile)('cmake', ['-E', 'tar', 'xf', file], { cwd: folder, signal });
  } catch (cause) {
    const reason = cause.code === 'ENOENT' ? 'CMake was not found' : cause.stderr?.trim() || cause.message;
    throw new Error(`the archive could not be unpacked: ${reason}`, { cause });
  }
}

/** Tells every tenth of a file that is large enough for someone to wait. */
function progress(expectedBytes, log) {
  let told = 0;
  return (bytes) => {
    const tenth = Math.floor((bytes / expectedBytes) * 10);
    if (!(expectedBytes > 10e6) || tenth <= told) return;
    told = tenth;
    log(`  ${tenth * 10} % of ${megabytes(expectedBytes)}`);
  };
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0)} MB`;
}
