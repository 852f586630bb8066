import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { convertModel, GradCAM, loadModel, Tensor } from 'node-gradcam';
import { temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';

// What a file is that is no model, and what to do about it.

const bad = (name: string) => fixturePath(`exported/bad/${name}`);

for (const [name, code, message] of [
  ['state-dict.pt2', 'ERR_MODEL_LOAD', /a state dict.*load_state_dict/s],
  ['checkpoint.pt2', 'ERR_MODEL_LOAD', /a checkpoint/],
  ['whole-module.pt2', 'ERR_MODEL_LOAD', /a module that torch\.save pickled/],
  ['model.safetensors', 'ERR_MODEL_LOAD', /a safetensors file/],
  ['model.onnx', 'ERR_MODEL_LOAD', /an ONNX model/],
  ['model.mar', 'ERR_MODEL_LOAD', /a model archive of TorchServe/],
  ['zipped.zip', 'ERR_MODEL_LOAD', /a zip file with '.*\.pt' in it/],
  ['older-format.pt2', 'ERR_MODEL_LOAD', /torch\.export\.save of an older PyTorch/],
  ['truncated.pt2', 'ERR_MODEL_LOAD', /cut off or damaged/],
  ['no-format.pt2', 'ERR_MODEL_LOAD', /./],
  ['no-json.pt2', 'ERR_MODEL_LOAD', /model\.json is not JSON/],
  ['other-format.pt2', 'ERR_MODEL_LOAD', /archive_format is not pt2/],
  ['missing-weight.pt2', 'ERR_MODEL_LOAD', /damaged/],
  ['short-weight.pt2', 'ERR_MODEL_LOAD', /larger than its record/],
  // Where one function calls itself for each module, and where a copy is made of each element.
  ['deep-names.pt2', 'ERR_MODEL_LOAD', /modules are in one another/],
  ['repeated-elements.pt2', 'ERR_MODEL_LOAD', /many times as many elements/],
  ['big-endian.pt2', 'ERR_UNSUPPORTED', /big-endian/],
  ['compiled.pt2', 'ERR_UNSUPPORTED', /AOTInductor/],
  ['legacy-weights.pt2', 'ERR_UNSUPPORTED', /written by an older PyTorch/],
  ['pickled-weight.pt2', 'ERR_UNSUPPORTED', /stored as a Python pickle/],
  ['schema-9.pt2', 'ERR_UNSUPPORTED', /version 9 of torch\.export's schema/],
  ['two-programs.pt2', 'ERR_UNSUPPORTED', /several programs/],
] as const) {
  test(`EXPECTED FAILURE - ${name}`, async (t) => {
    const error = await t.throwsAsync(loadModel(bad(name)), { code, message });
    t.true(error?.message.includes(bad(name)), 'the file is named');
  });
}

test('EXPECTED FAILURE - what a download leaves instead of a model', async (t) => {
  const file = join(temporaryFolder(t), 'model.pt2');
  for (const [content, message] of [
    ['version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n', /a pointer of Git LFS/],
    ['<!DOCTYPE html><html>404</html>', /a web page/],
    ['hello, world', /neither an exported program \(\.pt2\) nor TorchScript/],
  ] as const) {
    writeFileSync(file, content);
    await t.throwsAsync(loadModel(file), { code: 'ERR_MODEL_LOAD', message });
  }
});

test('what a file is, is read from it, not from its name', async (t) => {
  const folder = temporaryFolder(t);
  const [program, script] = [join(folder, 'program.pt'), join(folder, 'script.pt2')];
  writeFileSync(program, readFileSync(fixturePath('exported/dynamic-batch.pt2')));
  writeFileSync(script, readFileSync(fixturePath('scripted.pt')));
  await using first = await loadModel(program);
  await using second = await loadModel(script);
  t.is(first.format, 'exported');
  t.is(second.format, 'torchscript');
});

test('convert writes TorchScript with the same layers and results', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'a folder', 'model.pt');
  for (const [name, layer, size] of [
    ['dynamic-batch', 'body.0', 12],
    ['called-three-times', 'shared', 12],
    ['conditional', 'conv', 12],
  ] as const) {
    const path = fixturePath(`exported/${name}.pt2`);
    await convertModel(path, file);
    await using program = await loadModel(path);
    await using script = await loadModel(file);
    t.is(script.format, 'torchscript');
    t.deepEqual(
      script.layers().map((each) => each.path),
      program.layers().map((each) => each.path),
    );
    const input = Tensor.from(
      Float32Array.from({ length: 2 * 3 * size * size }, (_, index) => Math.sin(index)),
      [2, 3, size, size],
    );
    const explain = async (model: typeof program) =>
      (
        await new GradCAM({ model, targetLayers: layer }).explain(input, { targets: 1 })
      ).heatmaps.toTypedArray();
    t.deepEqual(await explain(script), await explain(program), name);
  }
});

test('BAD CALL - convert', async (t) => {
  const program = fixturePath('exported/dynamic-batch.pt2');
  const file = join(temporaryFolder(t), 'model.pt');
  await t.throwsAsync(convertModel(fixturePath('scripted.pt'), file), {
    code: 'ERR_MODEL_LOAD',
    message: /TorchScript already/,
  });
  // One of its layers is called `class`.
  await t.throwsAsync(convertModel(fixturePath('exported/odd-names.pt2'), file), {
    code: 'ERR_UNSUPPORTED',
    message: /cannot be written as TorchScript.*class/,
  });
  writeFileSync(file, 'mine');
  await t.throwsAsync(convertModel(program, file, { overwrite: false }), { code: 'EEXIST' });
  t.is(readFileSync(file, 'utf8'), 'mine');
  await t.throwsAsync(convertModel(5 as never, file), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.throwsAsync(convertModel(program, ''), { code: 'ERR_INVALID_ARG_TYPE' });
  await t.throwsAsync(convertModel(program, file, { force: true } as never), { code: 'ERR_UNKNOWN_OPTION' });
});

test('a program that is loaded in a process of its own first, and pinned', async (t) => {
  const path = JSON.stringify(fixturePath('exported/dynamic-batch.pt2'));
  const { code, stderr } = await runScript(
    `import { loadModel } from 'node-gradcam';
     const model = await loadModel(${path}, { preflight: true });
     if (model.format !== 'exported') throw new Error(model.format);`,
    {},
  );
  t.is(code, 0, stderr);
});
