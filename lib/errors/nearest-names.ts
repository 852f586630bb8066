import { distance as editDistance } from 'fastest-levenshtein';

/**
 * The names nearest to what was typed, best first: those that contain it, then by spelling.
 * @internal
 */
export function nearestNames(wanted: string, names: readonly string[], count = 3): string[] {
  const query = wanted.toLowerCase();
  return names
    .map((name) => {
      const candidate = name.toLowerCase();
      const contains = query !== '' && candidate.includes(query);
      return { name, distance: contains ? 0 : editDistance(query, candidate) };
    })
    .sort((a, b) => a.distance - b.distance)
    .slice(0, count)
    .map(({ name }) => name);
}
