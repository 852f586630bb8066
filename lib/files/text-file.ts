import { open, stat } from 'node:fs/promises';

const largest = 16 * 1024 * 1024;

/**
 * A text of a size that people write, in UTF-8, without its byte order mark. What is no file, too large or other than
 * UTF-8 is refused before it can do harm: of a device or a named pipe there may be no end.
 * @throws {Error} in a user's words, or the file system's error
 * @internal
 */
export async function readTextFile(path: string): Promise<string> {
  if (!(await stat(path)).isFile()) throw new Error('it is not a file');
  const file = await open(path);
  try {
    const { size } = await file.stat();
    if (size > largest)
      throw new Error(`it is too large: ${(size / 1e6).toFixed(0)} MB, and at most 16 MB are read`);
    const bytes = Buffer.alloc(size);
    const { bytesRead } = await file.read(bytes, 0, size, 0);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, bytesRead));
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause; // the decoder's
    throw new Error('it is not text in UTF-8', { cause });
  } finally {
    await file.close();
  }
}
