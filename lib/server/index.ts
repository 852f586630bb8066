/** The explain server: Grad-CAM over HTTP. @packageDocumentation */

export { type CreateServerOptions, createServer, type ExplainServer } from './create-server.js';
export { drain } from './drain.js';
export { explainServer } from './explain-server.js';
export type { ModelRegistry, ModelState, ModelStatus } from './model-registry.js';
export {
  type ExplainServerOptions,
  type ModelDefinition,
  readServerConfiguration,
  type ServerConfiguration,
} from './server-options.js';
