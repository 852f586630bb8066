import { createHmac, timingSafeEqual } from 'node:crypto';
import { isAbsolute, resolve } from 'node:path';
import { z } from 'zod';
import { packageVersion } from '../../addon/package-version.js';
import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../../errors/errors.js';
import type { ChunkOfBatch } from '../explaining/finish-chunk.js';
import { checkVersion } from '../output/folder.js';
import { chunkId, type PictureFile } from '../specification/chunks.js';
import { batchId, canonicalJson } from '../specification/specification.js';

// A job of the queue is a chunk of a batch; what is computed stands in the batch's output folder. Who can write to Redis can
// make one, so a worker takes nothing of it as it is.

const path = z
  .string()
  .refine((value) => isAbsolute(value) && resolve(value) === value && !value.includes('\0'));
const file = z.union([z.tuple([path]), z.tuple([path, z.number(), z.number()])]);

/** @internal */
export const jobSchema = z.strictObject({
  version: z.string(),
  /** The whole hash of the batch: that of all it computes, the model's content included. */
  batch: z.string().regex(/^[0-9a-f]{64}$/),
  /** Absolute path of the output folder. */
  folder: path,
  files: z.array(file).min(1).max(10_000),
  /** Hexadecimal HMAC-SHA256 of the rest. */
  signature: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .exactOptional(),
});

/** @internal */
export type JobData = z.infer<typeof jobSchema>;

/** @internal The job of a chunk; its id is the chunk's. */
export function jobOf({ digest, folder, files }: ChunkOfBatch, secret: Secret | null): JobData {
  const data = {
    version: packageVersion,
    batch: digest,
    folder,
    files: files.map((each) => [...each] as const),
  };
  const unsigned = data as unknown as JobData;
  return secret ? { ...unsigned, signature: signatureOf(unsigned, secret) } : unsigned;
}

/**
 * The chunk that a job is for.
 * @param secret what it must be signed with; null: signatures are not looked at
 * @throws {GradCamError} `ERR_BATCH_SIGNATURE`, `ERR_BATCH_JOB`, `ERR_BATCH_VERSION`
 * @internal
 */
export function chunkOfJob(id: string, data: unknown, secret: Secret | null): ChunkOfBatch {
  if (typeof data !== 'object' || data === null) throw noJob('it holds no object');
  // First, so that what a stranger wrote can only fail.
  if (secret) checkSignature(data, secret);
  checkVersion((data as { version?: unknown }).version);
  const parsed = jobSchema.safeParse(data);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw noJob(`${issue?.path.join('.') || 'data'} is not as it should be`);
  }
  const { batch: digest, folder } = parsed.data;
  const batch = batchId(digest);
  const files: readonly PictureFile[] = parsed.data.files;
  if (chunkId(batch, files) !== id) throw noJob('its id is not that of its pictures');
  return { id, batch, digest, folder, files };
}

function noJob(reason: string): GradCamError {
  return new GradCamError(
    'ERR_BATCH_JOB',
    `The job is not one that a submission makes: ${reason}. Who else writes to this Redis?`,
  );
}

/** @internal What jobs are signed with. */
export type Secret = Uint8Array;

/** Bytes. */
const shortestSecret = 16;

/**
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`; the secret itself is not told
 * @internal
 */
export function checkSecret(secret: unknown): Secret | null {
  if (secret === undefined) return null;
  if (typeof secret !== 'string' && !(secret instanceof Uint8Array))
    throw invalidArgumentType('secret', 'a string or bytes', secret);
  const bytes = Uint8Array.from(Buffer.from(secret as string));
  if (bytes.length < shortestSecret)
    throw argumentOutOfRange('secret', `at least ${shortestSecret} bytes`, bytes.length);
  return bytes;
}

function signatureOf({ signature: _, ...rest }: Partial<JobData>, secret: Secret): string {
  return createHmac('sha256', secret)
    .update(`node-gradcam batch job\n${canonicalJson(rest)}`)
    .digest('hex');
}

function checkSignature(data: object, secret: Secret): void {
  const { signature } = data as { signature?: unknown };
  const expected = Buffer.from(signatureOf(data, secret));
  const given = Buffer.from(typeof signature === 'string' ? signature : '');
  if (given.length === expected.length && timingSafeEqual(given, expected)) return;
  throw new GradCamError(
    'ERR_BATCH_SIGNATURE',
    `The job ${signature === undefined ? 'is not signed' : 'is signed with another secret, or was changed'}. Submit and work with the same secret; who else writes to this Redis?`,
  );
}
