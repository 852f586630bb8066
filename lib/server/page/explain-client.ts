import type { Answer, ModelDescription } from '../protocols/plain/schemas.js';

// What the page asks of the server. Addresses are relative: the server may be mounted anywhere.

export type { Answer, ModelDescription };
export type LayerDescription = ModelDescription['layers'][number];
export type ClassReport = Answer['top'][number];
export type ExplainedClass = Answer['explained'][number];
export type FoundBox = NonNullable<Answer['boxes']>[number];

/** What is asked for of a picture, as the query says it: `class`, `box` or `text`, and which. */
export type Wanted = readonly (readonly ['class' | 'box' | 'text', string])[];

/** The server refused; 401 means that it wants a token. */
export class ServerError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const tokenKey = 'gradcam-token';

export function setToken(token: string): void {
  sessionStorage.setItem(tokenKey, token);
}

async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const headers = new Headers(init.headers);
  const token = sessionStorage.getItem(tokenKey);
  if (token) headers.set('authorization', `Bearer ${token}`);
  const response = await fetch(path, { ...init, headers });
  const body = (await response.json().catch(() => null)) as (T & { error?: string }) | null;
  if (response.ok && body !== null) return body;
  throw new ServerError(response.status, body?.error ?? `The server answered ${response.status}.`);
}

export async function listModels(): Promise<string[]> {
  return (await ask<{ models: string[] }>('explain')).models;
}

export async function describeModel(name: string): Promise<ModelDescription> {
  return await ask<ModelDescription>(`explain/${encodeURIComponent(name)}`);
}

export async function explain(
  model: string,
  picture: Blob,
  wish: { readonly method: string; readonly layers: readonly string[]; readonly wanted: Wanted },
  signal: AbortSignal,
): Promise<Answer> {
  const query = new URLSearchParams({ format: 'json', method: wish.method });
  for (const layer of wish.layers) query.append('layer', layer);
  for (const [name, each] of wish.wanted) query.append(name, each);
  return await ask<Answer>(`explain/${encodeURIComponent(model)}?${query}`, {
    method: 'POST',
    body: picture,
    headers: { 'content-type': picture.type || 'application/octet-stream' },
    signal,
  });
}

/** The map's values, row by row. */
export function decodeHeatmap({ data }: ExplainedClass['heatmap']): Float32Array {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
