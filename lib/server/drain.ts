import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import './explain-server.js'; // declares gradcamModels

/**
 * Ends a server without losing a request: it stops being ready, goes on serving for `delayMs` (so that whoever routes
 * requests here has time to notice), then takes no new connections, answers what it has accepted and frees its models.
 * A server of your own goes on answering on open connections meanwhile if it was made with `return503OnClosing: false` and
 * `forceCloseConnections: 'idle'`.
 */
export async function drain(
  server: FastifyInstance,
  { delayMs = 0 }: { readonly delayMs?: number } = {},
): Promise<void> {
  server.gradcamModels.stopLoading();
  if (delayMs > 0) await sleep(delayMs);
  await server.close();
}
