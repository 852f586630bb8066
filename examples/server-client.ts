// Asks an explain server about a photo: what is it, and where does the model look? Starts one if none is named.
//   node dist/examples/server-client.js photo.jpg overlay.png [http://127.0.0.1:8080]
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node-gradcam/server';

const [photoPath = 'examples/photos/chelsea.png', overlayPath = 'output/overlay.png', address] =
  process.argv.slice(2);

/** A server of this process's own, on a free port of loopback. */
async function startServer() {
  const server = createServer({ models: { demo: 'examples/models/efficientnet_lite0.pt' } });
  const url = await server.listen({ port: 0 });
  await server.gradcamModels.whenLoaded();
  return { url, [Symbol.asyncDispose]: () => server.close() };
}

interface Answer {
  readonly explained: readonly {
    readonly class: number;
    readonly label: string | null;
    readonly probability: number;
  }[];
  readonly timings_ms: { readonly total: number };
}

await using own = address === undefined ? await startServer() : null;
const url = address ?? own?.url;
const photo = await readFile(photoPath);

/** Busy (503) means: try again after so many seconds. */
async function ask(path: string): Promise<Response> {
  for (;;) {
    const response = await fetch(new URL(path, url), { method: 'POST', body: new Uint8Array(photo) });
    if (response.ok) return response;
    if (response.status !== 503) throw new Error(`${response.status}: ${await response.text()}`);
    const seconds = Number(response.headers.get('retry-after') ?? 1);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

const [model] = ((await (await fetch(new URL('explain', url))).json()) as { models: string[] }).models;
const { explained, timings_ms: times } = (await (
  await ask(`explain/${model}?format=json&top=3&deadline_ms=10000`)
).json()) as Answer;
for (const { label, class: index, probability } of explained)
  console.log(`${(probability * 100).toFixed(1).padStart(5)}%  ${label ?? `class ${index}`}`);
console.log(`in ${times.total.toFixed(0)} ms`);

const overlay = await ask(`explain/${model}?class=${explained[0]?.class}&original=true`);
await writeFile(overlayPath, Buffer.from(await overlay.arrayBuffer()));
console.log(`${overlayPath}: what speaks for ${explained[0]?.label}`);
