import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { compareFolders, page, readRooms } from './table.mjs';

// Do the C++ files include only what their room may? A header of api/ declares what a room of the core does, so it counts as
// that room's: the one that holds its .cc, or, where it has none, the lowest in the table of those whose headers it includes.

/** What is wrong with the rooms of native/, a line each; nothing where all is well. */
export function checkNative(root) {
  const rooms = readRooms(root, 'native').map(({ name, ...room }) => ({
    ...room,
    name: name.replace(/\/$/, ''),
  }));
  const files = readdirSync(join(root, 'native'), { recursive: true, encoding: 'utf8' }).filter((file) =>
    /\.(h|cc)$/.test(file),
  );
  const includes = new Map(
    files.map((file) => [
      file,
      [...readFileSync(join(root, 'native', file), 'utf8').matchAll(/^#include "([^"]+)"/gm)].map(
        ([, each]) => each,
      ),
    ]),
  );
  const order = (name) => rooms.findIndex((room) => room.name === name);
  const ownerOf = (file) => {
    if (dirname(file) !== 'api') return dirname(file);
    const source = files.find(
      (each) => each.startsWith('core/') && basename(each) === basename(file).replace(/\.h$/, '.cc'),
    );
    if (source) return dirname(source);
    const owners = (includes.get(file) ?? []).map(ownerOf);
    return owners.reduce((lowest, each) => (order(each) > order(lowest) ? each : lowest), 'api');
  };
  const problems = [];
  for (const [file, included] of includes)
    for (const each of included) {
      const [from, to] = [ownerOf(file), ownerOf(each)];
      if (!includes.has(each)) problems.push(`native/${file} includes "${each}", which is not there.`);
      else if (/^(api|binding)\//.test(file) && each.startsWith('core/'))
        problems.push(`native/${file} includes "${each}": ${dirname(file)}/ sees the core by api/ only.`);
      else if (order(to) > order(from))
        problems.push(
          `native/${file} includes "${each}": the room ${from}/ may not use ${to}/, which is below it in ${page}.`,
        );
    }
  const cmake = readFileSync(join(root, 'CMakeLists.txt'), 'utf8');
  for (const file of files)
    if (/^(core|binding)\/.*\.cc$/.test(file) && !cmake.includes(`native/${file}`))
      problems.push(`CMakeLists.txt does not compile native/${file}.`);
  return [...compareFolders(root, 'native', rooms, ['.h', '.hpp', '.cc']), ...problems];
}
