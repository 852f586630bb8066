import { fileURLToPath } from 'node:url';
import { checkNative } from './native.mjs';
import { checkTypeScript } from './typescript.mjs';

// Do imports keep to the rooms of docs/architecture.md? npm run check:rooms

const root = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');
/** Each gives what is wrong, a line for each. */
const checks = [checkNative, checkTypeScript];

const problems = (await Promise.all(checks.map((check) => check(root)))).flat();
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
else console.log('Folders, imports and the rooms of docs/architecture.md agree.');
