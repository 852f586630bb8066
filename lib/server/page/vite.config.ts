import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

// Built into the package beside the compiled server, which serves it at whatever path it is mounted on.
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  build: {
    outDir: fileURLToPath(new URL('../../../dist/lib/server/page', import.meta.url)),
    emptyOutDir: true,
    assetsInlineLimit: 0,
  },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
});
