import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cruise } from 'dependency-cruiser';
import { compareFolders, page, readRooms } from './table.mjs';

/** What no file imports, since a process, a thread or a page starts with it; beside what package.json names. */
const starts = [
  'lib/model/preflight.ts',
  'lib/server/workers/thread.ts',
  'lib/server/page/main.tsx',
  'lib/server/page/vite.config.ts',
];

const escaped = (path) => path.replace(/[.@/]/g, '\\$&');
const oneOf = (patterns) => `(?:${patterns.join('|')})`;
const filesOf = ({ folder }) => `^${escaped(folder)}/[^/]+\\.tsx?$`;

/** dependency-cruiser's configuration, made of the table of rooms. */
export function configuration(root) {
  const rooms = readRooms(root, 'lib');
  const { exports, bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const published = [...Object.values(exports), ...Object.values(bin)]
    .map((target) => target.default ?? target)
    .filter((path) => path.endsWith('.js'))
    .map((path) => path.replace(/^(?:\.\/)?dist\/(.*)\.js$/, '$1.ts'));
  const begin = `^${oneOf([...published, ...starts].map(escaped))}$`;
  const rule = (name, from, to) => ({ name, severity: 'error', from, to });
  return {
    forbidden: [
      ...rooms.map((room, index) =>
        rule(
          'direction',
          { path: filesOf(room) },
          { path: '^lib/.*\\.tsx?$', pathNot: oneOf(rooms.slice(0, index + 1).map(filesOf)) },
        ),
      ),
      ...rooms.map((room) =>
        rule(
          'package',
          { path: filesOf(room) },
          {
            path: 'node_modules/',
            ...(room.packages.length > 0 && {
              pathNot: `node_modules/(?:@types/)?${oneOf(room.packages.map(escaped))}/`,
            }),
          },
        ),
      ),
      rule('circle', {}, { circular: true }),
      rule('unused', { path: begin }, { path: '^lib/', pathNot: begin, reachable: false }),
      rule('unknown', {}, { couldNotResolve: true }),
    ],
    options: {
      tsPreCompilationDeps: true,
      doNotFollow: { path: 'node_modules' },
      enhancedResolveOptions: {
        exportsFields: ['exports'],
        conditionNames: ['import', 'types', 'node', 'default'],
        extensions: ['.ts', '.tsx', '.mjs', '.js', '.d.ts'],
      },
    },
  };
}

/** What is wrong with the rooms of lib/, a line each; nothing where all is well. */
export async function checkTypeScript(root) {
  const rooms = readRooms(root, 'lib');
  const { options, forbidden } = configuration(root);
  const { output } = await cruise(['lib'], {
    ...options,
    baseDir: root,
    validate: true,
    ruleSet: { forbidden },
  });
  const nameOf = (path) => rooms.find((room) => new RegExp(filesOf(room)).test(path))?.name ?? 'no room';
  const told = {
    direction: ({ from, to }) =>
      `${from} imports ${to}: the room ${nameOf(from)} may not import from ${nameOf(to)}, which is below it in ${page}.`,
    package: ({ from, to }) =>
      `${from} imports ${to}: the row of ${nameOf(from)} in ${page} does not name the package.`,
    circle: ({ from, cycle }) =>
      `${[from, ...cycle.map(({ name }) => name)].join(' -> ')}: files may not import in a circle.`,
    unused: ({ to }) => `${to} is imported by nothing that the package publishes or starts.`,
    unknown: ({ from, to }) => `${from} imports '${to}', which is not found.`,
  };
  const problems = output.summary.violations.map((each) => told[each.rule.name](each));
  for (const { name, packages, ...room } of rooms) {
    const used = output.modules
      .filter(({ source }) => new RegExp(filesOf(room)).test(source))
      .flatMap(({ dependencies }) => dependencies.map(({ module }) => module));
    for (const each of packages.filter((one) => !used.some((module) => `${module}/`.startsWith(`${one}/`))))
      problems.push(
        `The row of ${name} in ${page} names the package ${each}, which the room does not import.`,
      );
  }
  return [...compareFolders(root, 'lib', rooms, ['.ts', '.tsx']), ...new Set(problems)];
}
