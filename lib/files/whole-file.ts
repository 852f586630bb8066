import { randomBytes } from 'node:crypto';
import { link, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Lets a file be written that appears complete or not at all, also after a loss of power; missing folders are made.
 * @param write - is given the path to write to
 * @param overwrite - default true; false refuses with `EEXIST` where there is a file of the name, whenever it came
 * @internal
 */
export async function placeWholeFile(
  path: string,
  write: (unfinished: string) => Promise<void>,
  { overwrite = true } = {},
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const unfinished = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    await write(unfinished);
    if (overwrite) await rename(unfinished, path);
    else await link(unfinished, path);
  } finally {
    await rm(unfinished, { force: true });
  }
}

/**
 * Writes a file as {@link placeWholeFile} does.
 * @internal
 */
export async function writeWholeFile(
  path: string,
  content: Uint8Array | string,
  how?: { readonly overwrite?: boolean },
): Promise<void> {
  await placeWholeFile(path, (unfinished) => writeFile(unfinished, content, { flush: true }), how);
}
