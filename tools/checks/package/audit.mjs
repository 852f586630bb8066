// Known weaknesses of the dependencies, as far as the registry tells.
import { spawnSync } from 'node:child_process';

/**
 * @returns {string} what was found out; where the registry has no audit, that nothing was
 * @throws {Error} for findings, and for answers that are none
 */
export function auditDependencies(root) {
  const { stdout, stderr } = spawnSync('npm', ['audit', '--json'], { cwd: root, encoding: 'utf8' });
  return judgeAudit(stdout, stderr);
}

/** What `npm audit --json` printed, judged. */
export function judgeAudit(stdout, stderr = '') {
  let answer;
  try {
    answer = JSON.parse(stdout);
  } catch {
    throw new Error(`npm audit gave no JSON: ${stdout.slice(0, 200)}${stderr.slice(0, 500)}`);
  }
  const found = answer.metadata?.vulnerabilities;
  if (found) {
    if (found.total === 0) return 'no known weakness';
    throw new Error(`npm audit found ${found.total}: ${Object.keys(answer.vulnerabilities).join(', ')}`);
  }
  // A registry that does not offer the question (a mirror, mostly) refuses it by one of these.
  if ([404, 405, 501].includes(answer.statusCode))
    return `NOT ASKED. This registry has no audit (${answer.message}); ask where one can be reached`;
  throw new Error(`npm audit failed: ${answer.message ?? stdout.slice(0, 300)}`);
}
