// What the tarball may hold, and how large it may be.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const largestTarball = 4e6;
const largestUnpacked = 8e6;

const allowed = [
  /^dist\/lib\/.+\.(js|js\.map|d\.ts)$/,
  /^dist\/lib\/server\/page\/(index\.html|icon\.svg|assets\/index-[\w-]+\.(js|css))$/,
  /^lib\/clip\/(vocabulary\.txt\.gz|LICENSE-CLIP\.txt)$/,
  /^lib\/server\/grpc\/(open_inference|health)\.proto$/,
  /^native\/(api|binding|core|placeholders)\/.+\.(cc|h)$/,
  /^native\/third_party\/nlohmann\/(json\.hpp|LICENSE\.MIT)$/,
  /^scripts\/.+\.(mjs|d\.mts)$/,
  /^exporting\/\w+\.py$/,
  /^docs\/.+\.(md|png|webp|svg|json|yaml)$/,
  /^docs\/deployment\/Dockerfile(\.dockerignore)?$/,
  /^examples\/([\w-]+\.ts|LICENSES\.md)$/,
  /^bench\/README\.md$/,
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|CONTRIBUTING\.md|CMakeLists\.txt|binding\.gyp)$/,
];
const required = [
  'dist/lib/index.js',
  'dist/lib/index.d.ts',
  'dist/lib/model/preflight.js',
  'dist/lib/cli/main.js',
  'dist/lib/batch/index.js',
  'dist/lib/server/index.js',
  'dist/lib/server/page/index.html',
  'lib/clip/vocabulary.txt.gz',
  'lib/server/grpc/open_inference.proto',
  'lib/server/grpc/health.proto',
  'native/core/model/model.cc',
  'exporting/export_model.py',
  'scripts/install.mjs',
  'scripts/libtorch/versions.mjs',
  'CMakeLists.txt',
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
];

/**
 * @param {{ files: { path: string }[], size: number, unpackedSize: number }} pack as `npm pack --json` tells it
 * @returns {string} its size, in words
 * @throws {Error} for what is missing, does not belong there, or is too large
 */
export function checkContent({ files, size, unpackedSize }, root) {
  const paths = files.map(({ path }) => path);
  const foreign = paths.filter((path) => !allowed.some((pattern) => pattern.test(path)));
  if (foreign.length > 0)
    throw new Error(`in the tarball, and should not be: ${foreign.slice(0, 10).join(', ')}`);
  const missing = required.filter((path) => !paths.includes(path));
  if (missing.length > 0) throw new Error(`not in the tarball: ${missing.join(', ')}`);
  const stale = paths.filter((path) => {
    const [, name] = /^dist\/(lib\/(?!server\/page\/).+)\.js$/.exec(path) ?? [];
    return name !== undefined && !existsSync(join(root, `${name}.ts`));
  });
  if (stale.length > 0)
    throw new Error(
      `compiled from sources that are gone: ${stale.join(', ')}; remove dist/ and run npm run build`,
    );
  const dead = deadLinks(paths, root);
  if (dead.length > 0) throw new Error(`links to what is not in the tarball: ${dead.join(', ')}`);
  const words = `${files.length} files, ${megabytes(size)}, unpacked ${megabytes(unpackedSize)}`;
  if (size > largestTarball || unpackedSize > largestUnpacked)
    throw new Error(`${words}; at most ${megabytes(largestTarball)}, unpacked ${megabytes(largestUnpacked)}`);
  return words;
}

/**
 * @param {string[]} paths those of the tarball's files
 * @returns {string[]} its pages' relative links to what is not in it
 */
export function deadLinks(paths, root) {
  return paths
    .filter((path) => path.endsWith('.md'))
    .flatMap((page) => {
      const text = readFileSync(join(root, page), 'utf8').replace(/^```.*?^```$/gms, '');
      return [...text.matchAll(/\]\(([^)\s#]+)/g)]
        .map(([, target]) => target)
        .filter((target) => !/^[a-z]+:/.test(target))
        .filter((target) => {
          const there = join(dirname(page), target).replace(/\/$/, '');
          return !paths.some((path) => path === there || path.startsWith(`${there}/`));
        })
        .map((target) => `${target} of ${page}`);
    });
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
