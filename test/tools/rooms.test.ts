import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'ava';
import { rootUrl } from '../helpers/root.js';

// The check of rooms refuses what it is there to refuse.

const { checkTypeScript } = await import(rootUrl('tools/checks/rooms/typescript.mjs'));
const { checkNative } = await import(rootUrl('tools/checks/rooms/native.mjs'));

const table = `### lib/

| room | what belongs in it | packages |
| --- | --- | --- |
| \`low/\` | What all use. | none |
| \`high/\` | What uses it. | none |
| \`./\` | The public names. | none |

## Something else
`;

const tree = {
  'docs/architecture.md': table,
  'package.json': JSON.stringify({ exports: { '.': { default: './dist/lib/index.js' } }, bin: {} }),
  'lib/README.md': 'The public names.\n',
  'lib/index.ts': "export { high } from './high/high.js';\n",
  'lib/high/README.md': 'What uses it.\n',
  'lib/high/high.ts': "import { low } from '../low/low.js';\nexport const high = low + 1;\n",
  'lib/low/README.md': 'What all use.\n',
  'lib/low/low.ts': 'export const low = 1;\n',
};

type Cases = Record<string, { files: Record<string, string>; told: RegExp | null }>;

const cases: Cases = {
  'a tree as its table says': { files: {}, told: null },
  'a room that imports from one below it': {
    files: {
      'lib/low/low.ts': "import type { High } from '../high/type.js';\nexport const low: High = 1;\n",
      'lib/high/type.ts': 'export type High = number;\n',
    },
    told: /^lib\/low\/low\.ts imports lib\/high\/type\.ts: the room low\/ may not import from high\/, which is below it in docs\/architecture\.md\.$/m,
  },
  'files in a circle': {
    files: {
      'lib/low/low.ts': "import { other } from './other.js';\nexport const low = other;\n",
      'lib/low/other.ts': "import type { low } from './low.js';\nexport const other: typeof low = 1;\n",
    },
    told: /other\.ts -> .*low\.ts.*circle/,
  },
  'a package that no row names': {
    files: {
      'lib/low/low.ts': "export { default as low } from 'sharp';\n",
      'node_modules/sharp/index.js': 'export default 1;\n',
      'node_modules/sharp/package.json': '{ "name": "sharp", "main": "index.js" }',
    },
    told: /low\.ts imports node_modules\/sharp\/index\.js: the row of low\//,
  },
  'a package that a row names for nothing': {
    files: { 'docs/architecture.md': table.replace('use. | none', 'use. | `sharp`') },
    told: /^The row of low\/ .* names the package sharp/,
  },
  'a file that nothing uses': {
    files: { 'lib/low/left.ts': 'export {};\n' },
    told: /^lib\/low\/left\.ts is imported by nothing/,
  },
  'a folder without a row': {
    files: {
      'lib/new/new.ts': 'export const added = 1;\n',
      'lib/index.ts': "export { high } from './high/high.js';\nexport * from './new/new.js';\n",
    },
    told: /^lib\/new\/ holds sources and has no row/,
  },
  'a row without a folder': {
    files: { 'docs/architecture.md': table.replace('| `high/`', '| `gone/` | No more. | none |\n| `high/`') },
    told: /the room gone\/, and lib\/gone\/ holds no sources/,
  },
  'a README that says something else': {
    files: { 'lib/low/README.md': 'Odds and ends.\n' },
    told: /^lib\/low\/README\.md does not hold/,
  },
};

const nativeTree = {
  'docs/architecture.md': `### native/

| room | what belongs in it |
| --- | --- |
| \`api/\` | What the binding sees. |
| \`core/low/\` | What all use. |
| \`core/high/\` | What uses it. |
| \`binding/\` | For JavaScript. |
`,
  'CMakeLists.txt': 'native/core/low/low.cc native/core/high/high.cc native/binding/addon.cc',
  'native/api/README.md': 'What the binding sees.\n',
  'native/api/data.h': '#include "api/high.h"\n',
  'native/api/high.h': '#include <string>\n',
  'native/api/low.h': '',
  'native/core/low/README.md': 'What all use.\n',
  'native/core/low/low.cc': '#include "api/low.h"\n',
  'native/core/low/parts.h': '',
  'native/core/high/README.md': 'What uses it.\n',
  'native/core/high/high.cc': '#include "api/high.h"\n#include "core/low/parts.h"\n',
  'native/core/high/parts.h': '',
  'native/binding/README.md': 'For JavaScript.\n',
  'native/binding/addon.cc': '#include "api/data.h"\n',
};

const nativeCases: Cases = {
  'a tree as its table says': { files: {}, told: null },
  'a room that includes from one below it': {
    files: { 'native/core/low/low.cc': '#include "core/high/parts.h"\n' },
    told: /^native\/core\/low\/low\.cc includes "core\/high\/parts\.h": the room core\/low\/ may not use core\/high\/, which is below it/,
  },
  'a header of the api that a lower room has written': {
    files: { 'native/core/low/low.cc': '#include "api/high.h"\n' },
    told: /the room core\/low\/ may not use core\/high\//,
  },
  'the same through a header that is data alone': {
    files: { 'native/core/low/low.cc': '#include "api/data.h"\n' },
    told: /the room core\/low\/ may not use core\/high\//,
  },
  'a binding that sees the core': {
    files: { 'native/binding/addon.cc': '#include "core/low/parts.h"\n' },
    told: /^native\/binding\/addon\.cc includes "core\/low\/parts\.h": binding\/ sees the core by api\/ only/,
  },
  'a header that is not there': {
    files: { 'native/core/high/high.cc': '#include "core/low/gone.h"\n' },
    told: /includes "core\/low\/gone\.h", which is not there/,
  },
  'a source that is not compiled': {
    files: { 'native/core/low/left.cc': '' },
    told: /^CMakeLists\.txt does not compile native\/core\/low\/left\.cc/,
  },
};

for (const [language, check, usual, all] of [
  ['TypeScript', checkTypeScript, tree, cases],
  ['C++', checkNative, nativeTree, nativeCases],
] as const) {
  for (const [title, { files, told }] of Object.entries(all)) {
    test.serial(`${language}: ${title}`, async (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'rooms-'));
      t.teardown(() => rmSync(folder, { recursive: true }));
      for (const [path, content] of Object.entries({ ...usual, ...files })) {
        mkdirSync(dirname(join(folder, path)), { recursive: true });
        writeFileSync(join(folder, path), content);
      }
      const problems: string[] = await check(folder);
      if (told === null) t.deepEqual(problems, []);
      else t.regex(problems.join('\n'), told);
    });
  }
}
