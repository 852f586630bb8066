import { appendFileSync } from 'node:fs';
import test, { type Implementation } from 'ava';
import { type RequirementName, requirements } from './requirements.js';

/**
 * Declares tests that need something: serial ones, or, where it is missing, skipped ones that `npm test` tells of at its
 * end (GRADCAM_SKIPPED_TESTS is the file it reads).
 */
export function testWith(name: RequirementName): (title: string, implementation: Implementation<[]>) => void {
  const missing = requirements[name].missing();
  if (missing === null) return (title, implementation) => test.serial(title, implementation);
  return (title, implementation) => {
    const list = process.env.GRADCAM_SKIPPED_TESTS;
    if (list) appendFileSync(list, `${JSON.stringify({ name, title })}\n`);
    test.serial.skip(`${title} (skipped: ${missing})`, implementation);
  };
}
