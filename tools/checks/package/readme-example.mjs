// README's first example, as a program.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

/**
 * The example as it is written, but for the layer: the model that stands for resnet50.pt is the demo's, in which the layer
 * before the pooling has another name.
 */
export function readmeExample(root) {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const written = /^## Use it\n+```ts\n(.*?)^```/ms.exec(readme)?.[1];
  for (const text of ['resnet50.pt', 'cat.jpg', "'layer4'", "'heat.png'", 'console.log(maps[0])'])
    if (!written?.includes(text)) throw new Error(`README's first example does not have ${text} any more`);
  const typed = written.replace("'layer4'", "'_conv_head'");
  return {
    typed,
    model: join(root, 'examples', 'models', 'efficientnet_lite0.pt'),
    photo: join(root, 'examples', 'photos', 'chelsea.png'),
    /** @param {'import' | 'require'} kind */
    program: (kind) => compile(kind === 'import' ? typed : required(typed)),
  };
}

/** As it is written where there is neither `import` nor `await` at the top. */
function required(typed) {
  const [first, ...rest] = typed.split('\n');
  const names = /^import (\{.*\}) from 'node-gradcam';$/.exec(first)?.[1];
  if (!names) throw new Error("README's first example does not begin with its import");
  return `const ${names} = require('node-gradcam');\n(async () => {${rest.join('\n')}})();`;
}

/** `await using` is newer than Node 20; TypeScript writes it out. */
function compile(program) {
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  return ts.transpileModule(program, { compilerOptions }).outputText;
}
