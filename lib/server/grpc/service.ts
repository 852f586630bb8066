import type { handleUnaryCall } from '@grpc/grpc-js';
import { packageVersion } from '../../addon/package-version.js';
import { GradCamError } from '../../errors/errors.js';
import type { ServerMetrics } from '../calls/metrics.js';
import { isLive, isReady } from '../http/health.js';
import type { ModelRegistry } from '../models/registry.js';
import { configOf, describeModel, describeServer } from '../protocols/open-inference/description.js';
import { refuseUnlessOn, repositoryIndex } from '../protocols/open-inference/model-repository.js';
import type { CallGuard } from './call-guard.js';
import { checkName, findModel } from './inference.js';
import { type ModelMessage, type RepositoryMessage, readMessage } from './messages.js';

/** Of Triton's protocol, and not of this server. */
export const unsupportedMethods = [
  'SystemSharedMemoryStatus',
  'SystemSharedMemoryRegister',
  'SystemSharedMemoryUnregister',
  'CudaSharedMemoryStatus',
  'CudaSharedMemoryRegister',
  'CudaSharedMemoryUnregister',
  'TraceSetting',
  'LogSettings',
] as const;

export interface ServiceParts {
  readonly models: ModelRegistry;
  readonly guard: CallGuard;
  readonly metrics: ServerMetrics;
  readonly modelControl: boolean;
}

/** All methods of the inference service with one message and one answer, but for inferences. */
export function inferenceMethods({ models, guard, metrics, modelControl }: ServiceParts) {
  const ofModel = <Answer>(answer: (asked: ModelMessage) => Promise<Answer> | Answer) =>
    guard.unary((bytes) => answer(readMessage<ModelMessage>('inference.ModelReadyRequest', bytes)));

  const change = (action: 'load' | 'unload', answer: 'isLoaded' | 'isUnloaded') =>
    guard.unary(async (bytes) => {
      refuseUnlessOn(modelControl);
      const asked = readMessage<RepositoryMessage>('inference.RepositoryModelLoadRequest', bytes);
      if (Object.keys(asked.parameters).some((name) => name !== 'unload_dependents'))
        throw new GradCamError(
          'ERR_UNSUPPORTED',
          'A model is loaded as it is in the repository: with no configuration and no files of a request.',
        );
      const name = asked.model_name || asked.repository_name;
      checkName(name);
      await models[action](name);
      return { model_name: name, [answer]: true };
    });

  return {
    ServerLive: guard.unary(() => ({ live: isLive() })),
    ServerReady: guard.unary(() => ({ ready: isReady(models) })),
    ModelReady: ofModel(({ name, version }) => {
      try {
        findModel(models, name, version);
        return { ready: true };
      } catch (error) {
        if ((error as { code?: string }).code !== 'ERR_MODEL_NOT_READY') throw error;
        return { ready: false };
      }
    }),
    ServerMetadata: guard.unary(() => describeServer(packageVersion)),
    ModelMetadata: ofModel(({ name, version }) => describeModel(findModel(models, name, version))),
    ModelConfig: ofModel(({ name, version }) => ({ config: configOf(findModel(models, name, version)) })),
    ModelStatistics: ofModel(({ name, version }) => {
      const asked = name === '' ? models.loaded() : [findModel(models, name, version)];
      return { model_stats: asked.map((served) => metrics.statistics(served)) };
    }),
    RepositoryIndex: guard.unary(async (bytes) => {
      const { ready } = readMessage<{ ready: boolean }>('inference.RepositoryIndexRequest', bytes);
      const all = await repositoryIndex(models);
      return { models: ready ? all.filter(({ state }) => state === 'READY') : all };
    }),
    RepositoryModelLoad: change('load', 'isLoaded'),
    RepositoryModelUnload: change('unload', 'isUnloaded'),
  };
}

/** Answers a method of {@link unsupportedMethods}. */
export function unsupported(guard: CallGuard, method: string): handleUnaryCall<Buffer, never> {
  return guard.unary<never>(() => {
    throw new GradCamError(
      'ERR_UNSUPPORTED',
      `${method} is not supported: there is no shared memory, and logs and traces are set at the start.`,
    );
  });
}
