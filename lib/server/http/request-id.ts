/** A client's own id for its request, where it cannot harm a log. */
export function requestIdOf(header: unknown): string | undefined {
  return typeof header === 'string' && /^[\w.:-]{1,128}$/.test(header) ? header : undefined;
}
