import { appendFileSync } from 'node:fs';
import test, { type Implementation } from 'ava';
import { type RequirementName, requirements } from './requirements.js';

/**
 * Declares tests that need something: serial ones, or, where it is missing, skipped ones that `npm test` tells of at its
 * end (GRADCAM_SKIPPED_TESTS is the file it reads). With GRADCAM_REQUIRE_CUDA=1, on a machine that is there for its GPU,
 * tests that lack CUDA fail.
 */
export function testWith(name: RequirementName): (title: string, implementation: Implementation<[]>) => void {
  const missing = requirements[name].missing();
  if (missing === null) return (title, implementation) => test.serial(title, implementation);
  if (name === 'CUDA' && process.env.GRADCAM_REQUIRE_CUDA === '1')
    return (title) =>
      test.serial(title, (t) => t.fail(`GRADCAM_REQUIRE_CUDA=1, and CUDA is missing: ${missing}`));
  return (title, implementation) => {
    const list = process.env.GRADCAM_SKIPPED_TESTS;
    if (list) appendFileSync(list, `${JSON.stringify({ name, title })}\n`);
    test.serial.skip(`${title} (skipped: ${missing})`, implementation);
  };
}
