import { setTimeout as sleep } from 'node:timers/promises';
import type { ExplainServer } from './create-server.js';

/**
 * Ends a server without losing a request: it stops being ready, goes on serving for `delayMs` (so that whoever routes
 * requests here has time to notice), then takes no new connections, answers what it has accepted and frees its models.
 */
export async function drain(
  server: ExplainServer,
  { delayMs = 0 }: { readonly delayMs?: number } = {},
): Promise<void> {
  server.gradcamModels?.stopLoading();
  if (delayMs > 0) await sleep(delayMs);
  await server.close();
}
