import { once } from 'node:events';
import { createServer } from 'node:net';
import { GradCamError } from '../../errors/errors.js';
import { digestOf } from '../specification/specification.js';

/**
 * Keeps a second run on this machine from doing the same batch at the same time. Linux forgets the name with the process that
 * holds it, however that ends. Elsewhere, and between machines, nothing is kept off: two runs then do some work twice, and
 * the same files come out.
 * @throws {GradCamError} `ERR_BATCH_RUNNING`
 */
export async function lockBatch(batch: string, folder: string): Promise<AsyncDisposable> {
  if (process.platform !== 'linux') return { [Symbol.asyncDispose]: async () => {} };
  // The null character makes it a name without a file.
  const server = createServer((socket) => socket.destroy());
  server.listen(`\0node-gradcam-${digestOf(`${batch}\n${folder}`).slice(0, 32)}`).unref();
  try {
    await once(server, 'listening');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw cause;
    throw new GradCamError(
      'ERR_BATCH_RUNNING',
      `Another run of the batch ${batch} is under way on this machine. Wait for its end, or stop it; what it has done is not done again.`,
      { cause, details: { path: folder } },
    );
  }
  return {
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}
