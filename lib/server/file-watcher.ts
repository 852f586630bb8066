import { type FSWatcher, watch } from 'chokidar';
import type { FastifyBaseLogger } from 'fastify';
import { sidecarPath } from '../sidecar.js';
import type { ModelRegistry } from './model-registry.js';

/** Loads a model anew when its file or its sidecar was changed and has stopped growing. */
export function watchModels(
  models: ModelRegistry,
  paths: Readonly<Record<string, string>>,
  log: FastifyBaseLogger,
): FSWatcher {
  const nameOf = new Map(
    Object.entries(paths).flatMap(([name, path]) => [
      [path, name],
      [sidecarPath(path), name],
    ]),
  );
  const watcher = watch([...nameOf.keys()], {
    ignoreInitial: true,
    awaitWriteFinish: { stabilityThreshold: 500, pollInterval: 100 },
    atomic: true,
  });
  const reload = (path: string) => {
    const name = nameOf.get(path);
    if (name === undefined || models.versionOf(name) === null) return;
    log.info({ model: name, path }, `the file of model ${name} was changed`);
    // A failure is logged by the registry; the old model goes on.
    models.load(name).catch(() => {});
  };
  watcher.on('add', reload).on('change', reload);
  watcher.on('error', (error) => log.error({ err: error }, 'files cannot be watched'));
  return watcher;
}
