import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

// The rooms as docs/architecture.md tells them, and whether the folders agree.

export const page = 'docs/architecture.md';

/** The table under the heading `### lib/`: its rooms in order, each with its folder, sentence and the packages it may import. */
export function readRooms(root, parent) {
  const lines = readFileSync(join(root, page), 'utf8').split('\n');
  const start = lines.indexOf(`### ${parent}/`) + 1;
  if (start === 0) throw new Error(`${page} has no heading "### ${parent}/"`);
  const next = lines.findIndex((line, index) => index >= start && line.startsWith('#'));
  return lines
    .slice(start, next === -1 ? undefined : next)
    .filter((line) => /^\| `/.test(line))
    .map((line) => {
      const [, folder, sentence, packages = ''] = line.split('|').map((cell) => cell.trim());
      const name = folder.replaceAll('`', '');
      return {
        name,
        folder: join(parent, name).replace(/\/$/, ''),
        sentence,
        packages: [...packages.matchAll(/`([^`]+)`/g)].map(([, each]) => each),
      };
    });
}

/** What of rooms and folders does not agree: a row without a folder, sources without a row, another sentence in a README. */
export function compareFolders(root, parent, rooms, extensions) {
  const isSource = (name) => extensions.some((extension) => name.endsWith(extension));
  const hasSources = (folder) => readdirSync(join(root, folder)).some(isSource);
  const folders = readdirSync(join(root, parent), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(root, '/').length));
  const known = new Set(rooms.map(({ folder }) => folder));
  const problems = [parent, ...folders]
    .filter((folder) => !known.has(folder) && hasSources(folder))
    .map((folder) => `${folder}/ holds sources and has no row in the table "${parent}/" of ${page}.`);
  for (const { name, folder, sentence } of rooms) {
    const readme = join(folder, 'README.md');
    if (!existsSync(join(root, folder)) || !hasSources(folder))
      problems.push(
        `The table "${parent}/" of ${page} has the room ${name}, and ${folder}/ holds no sources.`,
      );
    else if (!existsSync(join(root, readme)) || readFileSync(join(root, readme), 'utf8') !== `${sentence}\n`)
      problems.push(`${readme} does not hold the sentence of ${name} in ${page}: ${sentence}`);
  }
  return problems;
}
