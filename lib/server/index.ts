/** The explain server: Grad-CAM over HTTP and gRPC. @packageDocumentation */

export {
  type ExplainServerOptions,
  type ModelDefinition,
  readServerConfiguration,
  type ServerConfiguration,
} from './configuration/options.js';
export { type CreateServerOptions, createServer, type ExplainServer } from './create-server.js';
export { drain } from './drain.js';
export { explainServer } from './explain-server.js';
export type { GrpcEndpoint } from './grpc/endpoint.js';
export type { ModelRegistry, ModelState, ModelStatus } from './models/registry.js';
