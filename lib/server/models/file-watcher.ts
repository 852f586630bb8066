import { dirname, parse, resolve } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import type { FastifyBaseLogger } from 'fastify';
import { sidecarPath } from '../../sidecar/sidecar.js';
import type { ModelRegistry } from './registry.js';

export interface WatchedFiles {
  /** Models with a path of their own. */
  readonly paths: Readonly<Record<string, string>>;
  /** The folder whose NAME.pt2 and NAME.pt are models. */
  readonly repository: string | undefined;
}

/** Loads a model anew when its file or its sidecar was changed and has stopped growing. */
export function watchModels(
  models: ModelRegistry,
  { paths, repository }: WatchedFiles,
  log: FastifyBaseLogger,
): FSWatcher {
  const folder = repository === undefined ? undefined : resolve(repository);
  const names = new Map(
    Object.entries(paths).flatMap(([name, path]) => [
      [resolve(path), name],
      [resolve(sidecarPath(path)), name],
    ]),
  );
  const nameOf = (path: string) =>
    names.get(path) ?? (dirname(path) === folder ? parse(path).name : undefined);
  const watcher = watch([...names.keys(), ...(folder === undefined ? [] : [folder])], {
    ignoreInitial: true,
    depth: 0,
    awaitWriteFinish: { stabilityThreshold: 500, pollInterval: 100 },
    atomic: true,
  });
  const reload = (path: string) => {
    const name = nameOf(path);
    if (name === undefined || !models.isWanted(name)) {
      log.debug({ path }, 'a file was changed of which no model is served');
      return;
    }
    log.info({ model: name, path }, `the file of model ${name} was changed`);
    // A failure is logged by the registry; the old model goes on.
    models.reload(name).catch(() => {});
  };
  watcher.on('add', reload).on('change', reload);
  watcher.on('error', (error) => log.error({ err: error }, 'files cannot be watched'));
  return watcher;
}
