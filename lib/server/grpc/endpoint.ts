/** The server's second port, for gRPC. */
export interface GrpcEndpoint {
  /** `HOST:PORT`, as clients take it; null before the server is ready. */
  readonly address: string | null;
  /** Ends all calls at once. `close()` of the server waits for those that were accepted. */
  destroy(): void;
}
