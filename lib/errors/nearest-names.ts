/** Levenshtein distance: how many characters must be changed, added or removed. */
function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 0; i < left.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < right.length; j++) {
      const substitution = (row[j] ?? 0) + (left[i] === right[j] ? 0 : 1);
      next.push(Math.min((row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1, substitution));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

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
