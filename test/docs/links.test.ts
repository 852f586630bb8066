import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import test from 'ava';
import { root } from '../helpers/root.js';

/** The anchor that a heading gets on GitHub. */
const anchorOf = (heading: string) =>
  heading
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');

test('every relative link of README and docs leads somewhere', async (t) => {
  const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'examples/LICENSES.md'];
  for (const path of await readdir(join(root, 'docs'), { recursive: true }))
    if (path.endsWith('.md')) pages.push(join('docs', path));
  t.true(pages.length > 15);
  let links = 0;
  for (const page of pages) {
    const text = (await readFile(join(root, page), 'utf8')).replace(/^```.*?^```$/gms, '');
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      links++;
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? join(root, page) : join(root, dirname(page), path);
      t.true(existsSync(file), `${page}: ${target}`);
      if (anchor === undefined) continue;
      const headings = (await readFile(file, 'utf8')).matchAll(/^#+ (.*)$/gm);
      t.true(
        [...headings].some(([, heading = '']) => anchorOf(heading) === anchor),
        `${page}: ${target}`,
      );
    }
  }
  t.true(links > 50, `${links} links`);
});
