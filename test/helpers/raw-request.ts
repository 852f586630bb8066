import { request } from 'node:http';
import { buffer } from 'node:stream/consumers';

export interface RawAnswer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly text: string;
  /** The code of a failure; undefined where the answer is none. */
  readonly code: string | undefined;
}

/** A request with whatever headers: `fetch` sets some by itself, such as Host and Origin. */
export async function rawRequest(
  url: string,
  path: string,
  {
    method = 'GET',
    headers = {},
    body,
  }: { method?: string; headers?: Record<string, string>; body?: string | Uint8Array } = {},
): Promise<RawAnswer> {
  const asked = request(url + path, { method, headers, agent: false });
  return await new Promise((resolve, reject) => {
    asked.once('error', reject).once('response', (response) => {
      buffer(response).then((bytes) => {
        const text = bytes.toString();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, code: codeIn(text) });
      }, reject);
    });
    asked.end(body);
  });
}

function codeIn(text: string): string | undefined {
  try {
    return (JSON.parse(text) as { code?: string }).code;
  } catch {
    return undefined;
  }
}
