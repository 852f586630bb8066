import { isIP } from 'node:net';
import { hostname } from 'node:os';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { GradCamError } from '../../errors/errors.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route answers whatever the server is called: it tells nothing that is worth a trick. */
    anyHost?: boolean;
  }
}

export interface CallerOptions {
  /** Names of the server; undefined: its usual ones, or with tokens any. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Origins of pages that may use the server. */
  readonly allowedOrigins: readonly string[];
  readonly tokens: readonly string[];
}

/**
 * Refuses requests by a name that is not the server's. A page in a browser may have its own name point here, and then reads
 * answers as if they were its own (DNS rebinding). That needs a name, so that addresses are always let through. It needs
 * what the browser sends by itself, too, which no token is: with tokens, any name will do unless names were given.
 * @throws {GradCamError} `ERR_HOST_NOT_ALLOWED`
 */
export function checkHost(request: FastifyRequest, { allowedHosts, tokens }: CallerOptions): void {
  if (request.routeOptions.config?.anyHost) return;
  if (allowedHosts === undefined && tokens.length > 0) return;
  for (const host of hostsOf(request)) {
    const name = nameIn(host);
    if (name !== null && (isUsual(name) || (allowedHosts ?? []).some((allowed) => covers(allowed, name))))
      continue;
    const shown = (name ?? host).slice(0, 200);
    throw new GradCamError(
      'ERR_HOST_NOT_ALLOWED',
      `'${shown}' is no name of this server. Call it by its IP address, or allow the name: --allowed-host ${shown} (allowedHosts).`,
    );
  }
}

/**
 * Refuses what a page of elsewhere sends: browsers let every page send simple requests to every server that they reach,
 * whoever may read the answers. What is no browser says neither `Origin` nor `Sec-Fetch-Site`, and is let through.
 * @throws {GradCamError} `ERR_ORIGIN_NOT_ALLOWED`
 */
export function checkOrigin(request: FastifyRequest, { allowedOrigins }: CallerOptions): void {
  const { origin, 'sec-fetch-site': site } = request.headers;
  if (origin !== undefined && (allowedOrigins.includes(origin) || allowedOrigins.includes('*'))) return;
  // Only the browser itself can say so, and it knows by which name it sees the server, whatever stands between.
  if (site === 'same-origin' || site === 'none') return;
  if (site === undefined && (origin === undefined || isOwn(request, origin))) return;
  // A link that somebody follows shows its answer to them, and not to the page that it was on.
  if (origin === undefined && isLink(request)) return;
  const cure =
    origin === undefined || origin === 'null'
      ? 'Open it by itself, or allow the origin of the page (--allowed-origin, allowedOrigins) and request it with CORS.'
      : `Allow them with --allowed-origin ${origin.slice(0, 200)} (allowedOrigins).`;
  const whose = origin === undefined || origin === 'null' ? 'other sites' : origin.slice(0, 200);
  throw new GradCamError('ERR_ORIGIN_NOT_ALLOWED', `Pages of ${whose} may not use this server. ${cure}`);
}

/** Lets pages of the allowed origins read answers, and asks nobody for a token who only asks what is allowed. */
export async function allowOrigins(
  scope: FastifyInstance,
  { allowedOrigins }: Pick<CallerOptions, 'allowedOrigins'>,
): Promise<void> {
  if (allowedOrigins.length === 0) return;
  await scope.register(import('@fastify/cors'), {
    origin: [...allowedOrigins],
    methods: ['GET', 'HEAD', 'POST'],
    exposedHeaders: [
      'x-request-id',
      'x-batch-size',
      'inference-header-content-length',
      'retry-after',
      'www-authenticate',
    ],
    maxAge: 600,
  });
}

/** What the server was called by the client, and by a trusted proxy between them. */
function hostsOf(request: FastifyRequest): string[] {
  const { host } = request.headers;
  return [...new Set([...(host === undefined ? [] : [host]), ...(request.host ? [request.host] : [])])];
}

/** The name without its port, as browsers write it; null for what is none. */
function nameIn(host: string): string | null {
  if (!/^[\w.:[\]-]+$/.test(host) || !URL.canParse(`http://${host}`)) return null;
  return new URL(`http://${host}`).hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
}

/** An address; localhost, which browsers look up nowhere; the name of the machine, which nobody else can point here. */
function isUsual(name: string): boolean {
  return (
    isIP(name) !== 0 ||
    name === 'localhost' ||
    name.endsWith('.localhost') ||
    name === hostname().toLowerCase()
  );
}

function covers(allowed: string, name: string): boolean {
  const wanted = allowed.toLowerCase();
  if (wanted === '*' || wanted === name) return true;
  return wanted.startsWith('.') && (name.endsWith(wanted) || name === wanted.slice(1));
}

/** Whether a page has the server's own origin; TLS may end before the server, so that its scheme says nothing. */
function isOwn(request: FastifyRequest, origin: string): boolean {
  if (!URL.canParse(origin)) return false;
  const { protocol, host } = new URL(origin);
  return hostsOf(request).some((own) => {
    const url = `${protocol}//${own}`;
    return URL.canParse(url) && new URL(url).host === host;
  });
}

function isLink({ method, headers }: FastifyRequest): boolean {
  return (
    (method === 'GET' || method === 'HEAD') &&
    headers['sec-fetch-mode'] === 'navigate' &&
    headers['sec-fetch-dest'] === 'document'
  );
}
