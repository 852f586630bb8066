import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

// Compiled tests sit in dist/test/. Their fixtures, scripts/ and tools/ stay where they are.

/** The package's folder, with a slash at its end. */
export const root: string = fileURLToPath(new URL('../../../', import.meta.url));

/** A path from the package's folder. */
export function rootPath(path: string): string {
  return join(root, path);
}

/** A path from test/fixtures. */
export function fixturePath(name: string): string {
  return join(root, 'test/fixtures', name);
}

/** The URL of a file that is not compiled, to import it: its path is from the package's folder. */
export function rootUrl(path: string): string {
  return pathToFileURL(rootPath(path)).href;
}
