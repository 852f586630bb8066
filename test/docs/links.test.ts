import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import test from 'ava';
import picomatch from 'picomatch';
import { root } from '../helpers/root.js';

/** The anchor that a heading gets on GitHub. */
const anchorOf = (heading: string) =>
  heading
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');

async function listPages(): Promise<string[]> {
  const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'examples/LICENSES.md'];
  for (const path of await readdir(join(root, 'docs'), { recursive: true }))
    if (path.endsWith('.md')) pages.push(join('docs', path));
  return pages;
}

test('every relative link of README and docs leads somewhere', async (t) => {
  const pages = await listPages();
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

test('every test that a page runs is there', async (t) => {
  const tests = (await readdir(join(root, 'test'), { recursive: true })).map((path) => join('test', path));
  let named = 0;
  for (const page of await listPages()) {
    const text = await readFile(join(root, page), 'utf8');
    for (const [, args = ''] of text.matchAll(/npx ava ([^`|\n]+)/g)) {
      for (const [pattern] of args.matchAll(/test\/[\w*./-]+/g)) {
        named++;
        const matches = picomatch([pattern, `${pattern}/**`]);
        t.true(
          tests.some((path) => matches(path)),
          `${page}: ${pattern}`,
        );
      }
    }
  }
  t.true(named > 15, `${named} tests`);
});
