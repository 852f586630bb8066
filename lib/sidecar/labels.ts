import { GradCamError } from '../errors/errors.js';
import { nearestNames } from '../errors/nearest-names.js';

/**
 * Labels from a text: a JSON array, or one label a line; null where it is neither.
 * @internal
 */
export function parseLabels(text: string): string[] | null {
  if (!text.trimStart().startsWith('[')) return text.trim() === '' ? null : text.trimEnd().split(/\r?\n/);
  try {
    const labels: unknown = JSON.parse(text);
    return Array.isArray(labels) && labels.every((label) => typeof label === 'string') ? labels : null;
  } catch {
    return null;
  }
}

const indexed = new WeakMap<readonly string[], readonly (readonly string[])[]>();

/** Each label and its parts between commas as they are compared; found once, since labels are many and asked for often. */
function namesOfLabels(labels: readonly string[]): readonly (readonly string[])[] {
  let names = indexed.get(labels);
  if (!names) {
    names = labels.map((label) => [label, ...label.split(',')].map((name) => name.trim().toLowerCase()));
    indexed.set(labels, names);
  }
  return names;
}

/**
 * The index of a class from what a person types: the index, the label, one of its names between commas, or the beginning
 * of just one label. Upper and lower case are the same.
 * @throws {GradCamError} `ERR_UNKNOWN_LABEL` with the nearest labels, or those that it could mean
 */
export function findClass(labels: readonly string[] | undefined, query: string): number {
  const wanted = query.trim().toLowerCase();
  if (/^\d+$/.test(wanted)) return Number(wanted);
  if (!labels) {
    throw new GradCamError(
      'ERR_UNKNOWN_LABEL',
      `The class '${query}' is not an index, and there are no labels to look it up in: the model has no sidecar with labels.`,
    );
  }
  const namesOf = namesOfLabels(labels);
  const exact = namesOf.flatMap((names, index) => (names.includes(wanted) ? [index] : []));
  const matches =
    exact.length > 0
      ? exact
      : namesOf.flatMap((names, index) =>
          wanted !== '' && names.some((name) => name.startsWith(wanted)) ? [index] : [],
        );
  const [first] = matches;
  if (first !== undefined && matches.length === 1) return first;
  const candidates =
    matches.length > 1 ? matches.map((index) => `${labels[index]} (${index})`) : nearestNames(wanted, labels);
  const problem = matches.length > 1 ? 'could mean' : 'is not a label of this model. The nearest:';
  throw new GradCamError('ERR_UNKNOWN_LABEL', `'${query}' ${problem} ${candidates.slice(0, 5).join(', ')}.`, {
    details: { suggestions: candidates },
  });
}
