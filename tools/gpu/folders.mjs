import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** What of the archive is neither node_modules/ nor dist/. */
export const kit = join(root, 'build-variants', 'gpu');

/** Tells what the archive was made of. */
export const manifestFile = join(kit, 'manifest.json');

/** An addon packed for a release line of LibTorch, "2.11". */
export const packedAddon = (line) => join(kit, 'addons', line);

/** The release line of a version, "2.11" of "2.11.0". */
export const lineOf = (version) => version.split('.').slice(0, 2).join('.');
