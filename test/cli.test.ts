import { execFile, spawn } from 'node:child_process';
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import sharp from 'sharp';
import { fixturePath } from './helpers/fixtures.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const program = join(root, 'dist', 'lib', 'cli', 'main.js');
const demoModel = join(root, 'examples', 'models', 'efficientnet_lite0.pt');
const photo = join(root, 'examples', 'photos', 'chelsea.png');

interface Run {
  readonly code: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function runProgram(file: string, args: readonly string[], cwd: string): Promise<Run> {
  const env = { ...process.env };
  delete env.GRADCAM_DEBUG;
  return new Promise((resolve) => {
    execFile(process.execPath, [file, ...args], { cwd, env }, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? null) : 0, stdout, stderr });
    });
  });
}

// Serial tests: each run loads LibTorch, and dozens at once would need gigabytes.
const newFolder = () => mkdtemp(join(tmpdir(), 'gradcam-cli-'));
const gradcam = (args: readonly string[], cwd = root) => runProgram(program, args, cwd);

/** Exit code and one clear line on standard error, without a stack. */
async function refused(
  t: ExecutionContext,
  args: readonly string[],
  code: number,
  message: RegExp,
  cwd = root,
) {
  const run = await gradcam(args, cwd);
  t.is(run.code, code, run.stderr);
  t.regex(run.stderr, /^error: /m);
  t.regex(run.stderr, message);
  t.notRegex(run.stderr, /^ +at /m);
  t.is(run.stdout, '');
}

function fitsColumns(t: ExecutionContext, text: string): void {
  for (const line of text.split('\n')) t.true(line.length <= 80, line);
}

test.serial('explain tells the five likeliest classes and the layer, and writes the overlay', async (t) => {
  const folder = await newFolder();
  await copyFile(photo, join(folder, 'cat.png'));
  const { code, stdout, stderr } = await gradcam(['explain', demoModel, 'cat.png'], folder);
  t.is(code, 0, stderr);
  t.is(stderr, '');
  fitsColumns(t, stdout);
  t.regex(stdout, /^Layer _relu1: the last layer that gives a spatial map/m);
  t.regex(stdout, /^cat\.png$/m);
  t.is(stdout.match(/^ +\d+\.\d% {2}.+ \(\d+\)$/gm)?.length, 5);
  t.regex(stdout, /40\.\d% {2}tiger cat \(282\)/);
  t.regex(stdout, /explained: tiger cat/);
  t.regex(stdout, /written: cat-gradcam\.png/);
  t.deepEqual((await readdir(folder)).sort(), ['cat-gradcam.png', 'cat.png']);
  const { width, height } = await sharp(join(folder, 'cat-gradcam.png')).metadata();
  t.deepEqual([width, height], [224, 224]);
});

test.serial('--json tells the same to programs', async (t) => {
  const folder = await newFolder();
  const args = [
    'explain',
    demoModel,
    photo,
    '--class',
    'tabby',
    '--class',
    '340',
    '--json',
    '-o',
    'two.webp',
  ];
  const { code, stdout, stderr } = await gradcam(args, folder);
  t.is(code, 0, stderr);
  const { model, images } = JSON.parse(stdout);
  t.is(model, demoModel);
  t.is(images.length, 1);
  const [{ path, output, layers, top, explained, timings }] = images;
  t.deepEqual([path, output], [photo, 'two.webp']);
  t.is(layers[0].path, '_relu1');
  t.is(top.length, 5);
  t.is(top[0].label, 'tiger cat');
  t.true(Math.abs(top[0].probability - 0.403) < 0.01);
  t.deepEqual(
    explained.map(({ classIndex, label }: { classIndex: number; label: string }) => [classIndex, label]),
    [
      [281, 'tabby'],
      [340, 'zebra'],
    ],
  );
  const [{ hasPositiveEvidence, map, score }] = explained;
  t.true(hasPositiveEvidence);
  t.true(score > 5);
  t.true(map.mean > 0 && map.mean < 1 && map.hotShare > 0 && map.hotShare < 1);
  t.true(map.peak.x > 0 && map.peak.x < 224 && map.peak.y > 0 && map.peak.y < 224);
  t.true(timings.forward > 0);
  const metadata = await sharp(join(folder, 'two.webp')).metadata();
  t.is(metadata.format, 'webp');
  t.true((metadata.width ?? 0) > 2 * 224, 'two classes side by side');
});

test.serial(
  '--top draws as many classes; --layer, --size and --image-weight change the result',
  async (t) => {
    const folder = await newFolder();
    const explain = async (output: string, ...options: string[]) => {
      const { code, stdout, stderr } = await gradcam(
        ['explain', demoModel, photo, '--json', '-o', output, ...options],
        folder,
      );
      t.is(code, 0, stderr);
      return JSON.parse(stdout).images[0];
    };
    const top = await explain('top.png', '--top', '3');
    t.deepEqual(
      top.explained.map(({ classIndex }: { classIndex: number }) => classIndex),
      top.top.slice(0, 3).map(({ classIndex }: { classIndex: number }) => classIndex),
    );
    const other = await explain(
      'other.png',
      '--layer',
      '_blocks.10',
      '--layer',
      '_blocks.12',
      '--size',
      '160x192',
    );
    t.deepEqual(
      other.layers.map(({ path }: { path: string }) => path),
      ['_blocks.10', '_blocks.12'],
    );
    const { width, height } = await sharp(join(folder, 'other.png')).metadata();
    t.deepEqual([width, height], [192, 160]);
    await explain('photo.png', '--image-weight', '1');
    await explain('heat.png', '--image-weight', '0');
    const [kept, heat] = await Promise.all(
      ['photo.png', 'heat.png'].map((name) => readFile(join(folder, name))),
    );
    t.notDeepEqual(kept, heat);
  },
);

test.serial(
  'a folder stands for its pictures; one that cannot be read is reported and the others go on',
  async (t) => {
    const folder = await newFolder();
    const photos = join(folder, 'photos');
    await mkdir(photos);
    await Promise.all(['b.png', 'a.PNG'].map((name) => copyFile(photo, join(photos, name))));
    await sharp(photo).jpeg().toFile(join(photos, 'b.jpg'));
    await writeFile(join(photos, 'broken.jpg'), 'no picture');
    await writeFile(join(photos, 'notes.txt'), 'no picture either');
    const { code, stdout, stderr } = await gradcam(
      ['explain', demoModel, 'photos', '-o', 'out/maps'],
      folder,
    );
    t.is(code, 1);
    fitsColumns(t, stdout);
    t.regex(stderr, /^error: .*broken\.jpg.*\(ERR_IMAGE_LOAD\)\n$/);
    const files = await readdir(join(folder, 'out', 'maps'));
    t.deepEqual(files.sort(), ['a-gradcam.png', 'b-gradcam-2.png', 'b-gradcam.png']);

    const json = await gradcam(['explain', demoModel, 'photos', '-o', 'out', '--json'], folder);
    t.is(json.code, 1);
    const { images } = JSON.parse(json.stdout);
    t.deepEqual(
      images.map(({ path, error }: { path: string; error?: { code: string } }) => [
        basename(path),
        error?.code,
      ]),
      [
        ['a.PNG', undefined],
        ['b.jpg', undefined],
        ['b.png', undefined],
        ['broken.jpg', 'ERR_IMAGE_LOAD'],
      ],
    );
  },
);

test.serial('an image is never overwritten by its own overlay', async (t) => {
  const folder = await newFolder();
  const names = ['cat.png', 'cat-gradcam.png'];
  for (const name of names) await copyFile(photo, join(folder, name));
  const { code, stderr } = await gradcam(['explain', demoModel, ...names], folder);
  t.is(code, 0, stderr);
  const original = await readFile(photo);
  for (const name of names) t.deepEqual(await readFile(join(folder, name)), original);
  t.is((await readdir(folder)).length, 4);
  await refused(t, ['explain', demoModel, 'cat.png', '-o', './cat.png'], 2, /overwrite/, folder);
});

test.serial('a model without a sidecar takes labels and preparation from the command line', async (t) => {
  const folder = await newFolder();
  await copyFile(demoModel, join(folder, 'net.pt'));
  const names = Array.from({ length: 1000 }, (_, index) => `name ${index}`);
  await writeFile(join(folder, 'names.json'), JSON.stringify(names));
  await writeFile(join(folder, 'names.txt'), `${names.join('\r\n')}\r\n`);
  const preparation = ['--size', '224', '--mean', '0.498,0.498,0.498', '--std', '0.502,0.502,0.502'];
  for (const labels of ['names.json', 'names.txt']) {
    const args = [
      'explain',
      'net.pt',
      photo,
      '--labels',
      labels,
      '--class',
      'name 281',
      '--json',
      ...preparation,
    ];
    const { code, stdout, stderr } = await gradcam(args, folder);
    t.is(code, 0, stderr);
    const [{ top, explained }] = JSON.parse(stdout).images;
    t.true([281, 282, 285].includes(top[0].classIndex));
    t.is(explained[0].label, 'name 281');
  }
  await refused(t, ['explain', 'net.pt', photo, '--class', 'tabby'], 2, /ERR_UNKNOWN_LABEL/, folder);
});

const explainDemo = ['explain', demoModel, photo];
const wrongUsage: readonly [what: string, args: string[], message: RegExp][] = [
  ['no arguments', ['explain'], /missing required argument 'model'/],
  ['an unknown command', ['explian'], /unknown command 'explian'/],
  ['an unknown option', [...explainDemo, '--lyaer', 'x'], /unknown option '--lyaer'/],
  ['a missing image', ['explain', demoModel, 'nowhere.png'], /'nowhere\.png'/],
  ['an empty folder', ['explain', demoModel, join(root, 'lib')], /no pictures in the folder/],
  ['several images into one file', [...explainDemo, photo, '-o', 'a.png'], /2 images/],
  ['--class with --top', [...explainDemo, '--class', '1', '--top', '2'], /--class or --top/],
  ['--top 0', [...explainDemo, '--top', '0'], /at least 1/],
  ['an image weight of 2', [...explainDemo, '--image-weight', '2'], /from 0 to 1/],
  ['a mean that is no number', [...explainDemo, '--mean', 'a,b,c'], /--mean/],
  ['a mean of two', [...explainDemo, '--mean', '0.5,0.5'], /mean/],
  ['a size of letters', [...explainDemo, '--size', 'big'], /--size/],
  ['an unknown device', [...explainDemo, '--device', 'tpu'], /device/],
  ['a missing labels file', [...explainDemo, '--labels', 'nowhere.txt'], /nowhere\.txt/],
  ['an unknown layer', [...explainDemo, '--layer', '_relu'], /'_relu0'.*\(ERR_UNKNOWN_LAYER\)/],
  ['an unknown label', [...explainDemo, '--class', 'tabbby'], /tabby.*\(ERR_UNKNOWN_LABEL\)/],
  ['a class beyond the last', [...explainDemo, '--class', '1000'], /\(ERR_CLASS_OUT_OF_RANGE\)/],
];
for (const [what, args, message] of wrongUsage) {
  test.serial(`wrong usage ends with 2: ${what}`, async (t) => {
    await refused(t, args, 2, message, await newFolder());
  });
}

const cannotRun: readonly [what: string, args: string[], message: RegExp][] = [
  ['a missing model', ['explain', 'nowhere.pt', photo], /\(ERR_MODEL_NOT_FOUND\)/],
  ['a file that is no model', ['layers', photo], /\(ERR_MODEL_LOAD\)/],
  ['a model for another input', ['explain', fixturePath('one-channel.pt'), photo, photo], /\(ERR_\w+\)/],
];
for (const [what, args, message] of cannotRun) {
  test.serial(`a model that cannot run ends with 3: ${what}`, async (t) => {
    await refused(t, args, 3, message, await newFolder());
  });
}

test.serial('a wrong sidecar ends with 3', async (t) => {
  const folder = await newFolder();
  await copyFile(demoModel, join(folder, 'net.pt'));
  await writeFile(join(folder, 'net.json'), '{"inputs": {}}');
  await refused(t, ['explain', 'net.pt', photo], 3, /inputs.*\(ERR_SIDECAR\)/, folder);
});

test.serial('layers shows the tree with shapes and marks the suggested layer', async (t) => {
  const { code, stdout, stderr } = await gradcam(['layers', demoModel, '--input-size', '192']);
  t.is(code, 0, stderr);
  fitsColumns(t, stdout);
  t.regex(stdout, /^_conv_head +Conv2d +\[1, 1280, 6, 6\]$/m);
  t.regex(stdout, /^ {4}_expand +Expansion +\[1, 1152, 6, 6\]$/m);
  t.is(stdout.match(/<- suggested/g)?.length, 1);
  t.regex(stdout, /^_relu1 .*<- suggested$/m);
  t.regex(stdout, /^Suggested: _relu1, the last layer/m);

  const json = await gradcam(['layers', demoModel, '--json']);
  const { layers, suggested } = JSON.parse(json.stdout);
  t.is(suggested.path, '_relu1');
  const head = layers.find(({ path }: { path: string }) => path === '_conv_head');
  t.deepEqual([head.type, head.calls, head.outputShapes], ['Conv2d', 1, [[1, 1280, 7, 7]]]);
});

test.serial('layers of a model without a sidecar asks for an input size', async (t) => {
  const { code, stdout } = await gradcam(['layers', fixturePath('scripted.pt')]);
  t.is(code, 0);
  t.regex(stdout, /--input-size/);
  t.notRegex(stdout, /\[1, /);
});

test.serial('doctor tells what the library runs on', async (t) => {
  const text = await gradcam(['doctor']);
  t.is(text.code, 0, text.stderr);
  for (const name of ['Addon', 'LibTorch', 'CPU', 'CUDA', 'Threads', 'Node']) {
    t.regex(text.stdout, new RegExp(`^${name} +\\S`, 'm'));
  }
  const { libtorch, threads, addonPath, cuda } = JSON.parse((await gradcam(['doctor', '--json'])).stdout);
  t.regex(libtorch.version, /^2\.\d+\.\d+/);
  t.true(libtorch.testedVersions.length >= 2);
  t.regex(text.stdout, /^ +tested with 2\.\d+\.\d+ and 2\.\d+\.\d+$/m);
  t.true(addonPath.endsWith('gradcam.node'));
  t.true(threads.executors >= 1 && threads.intraOp >= 1);
  t.true(cuda.available || cuda.reason.length > 0);
});

test.serial('doctor ends with 3 and the cure where the addon was not built', async (t) => {
  const folder = await newFolder();
  await cp(join(root, 'dist', 'lib'), join(folder, 'dist', 'lib'), { recursive: true });
  await copyFile(join(root, 'package.json'), join(folder, 'package.json'));
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  const run = await runProgram(join(folder, 'dist', 'lib', 'cli', 'main.js'), ['doctor'], folder);
  t.is(run.code, 3);
  t.regex(run.stderr, /^error: The native addon is missing/);
  t.regex(run.stderr, /npm rebuild node-gradcam/);
  t.regex(run.stderr, /ERR_ADDON_LOAD/);
});

test.serial('--version and --help', async (t) => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  t.deepEqual(await gradcam(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' });
  for (const args of [['--help'], ['explain', '--help'], ['layers', '--help'], ['doctor', '--help']]) {
    const { code, stdout } = await gradcam(args);
    t.is(code, 0);
    fitsColumns(t, stdout);
    t.regex(stdout, /Exit codes:\n {2}0 /);
  }
  t.regex((await gradcam(['--help'])).stdout, /Examples:\n {2}gradcam explain/);
});

test.serial('GRADCAM_DEBUG=1 adds the stack', async (t) => {
  const env = { ...process.env, GRADCAM_DEBUG: '1' };
  const stderr = await new Promise<string>((resolve) => {
    execFile(process.execPath, [program, 'layers', 'nowhere.pt'], { env }, (_error, _out, text) =>
      resolve(text),
    );
  });
  t.regex(stderr, /^ +at /m);
});

test.serial('a reader that goes away is no error', async (t) => {
  const child = spawn(process.execPath, [program, 'layers', demoModel], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout.destroy();
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  t.deepEqual([code, stderr], [0, '']);
});

test.serial('Ctrl-C ends with 130 and leaves only complete files', async (t) => {
  const folder = await newFolder();
  const images = new Array(500).fill(photo);
  const child = spawn(process.execPath, [program, 'explain', demoModel, ...images], { cwd: folder });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  child.stdout.once('data', () => child.kill('SIGINT'));
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.once('close', (...end) => resolve(end));
  });
  t.deepEqual([code, signal, stderr], [130, null, 'interrupted\n']);
  const files = await readdir(folder);
  t.true(files.length >= 1 && files.length < 500, `${files.length} files`);
  for (const file of files) {
    t.regex(file, /\.png$/);
    await t.notThrowsAsync(sharp(join(folder, file)).stats());
  }
});

test.serial('clip draws the picture and heat for each text, and tells how well each fits', async (t) => {
  const folder = await newFolder();
  await copyFile(photo, join(folder, 'cat.png'));
  const archive = fixturePath('clip/resnet.pt');
  const { code, stdout, stderr } = await gradcam(['clip', archive, 'cat.png', 'the cat', 'a dog'], folder);
  t.is(code, 0, stderr);
  t.is(stderr, '');
  t.regex(stdout, /^Layer visual\.layer4$/m);
  t.regex(stdout, /^ +\d+\.\d% +-?0\.\d{3} {2}the cat$/m);
  t.regex(stdout, /^ {2}written: cat-gradcam\.png$/m);
  fitsColumns(t, stdout);
  const { width = 0, height = 0 } = await sharp(join(folder, 'cat-gradcam.png')).metadata();
  t.true(width > 3 * 128 && height > 128); // the picture and two overlays

  const args = [
    'clip',
    archive,
    'cat.png',
    'the cat',
    'a dog',
    '--json',
    '-l',
    'visual.layer3',
    '-o',
    'out.jpg',
  ];
  const json = JSON.parse((await gradcam(args, folder)).stdout);
  t.deepEqual(
    json.texts.map(({ prompt }: { prompt: string }) => prompt),
    ['the cat', 'a dog'],
  );
  t.is(json.layers[0].path, 'visual.layer3');
  const [one, other] = json.texts;
  t.true(Math.abs(one.probability + other.probability - 1) < 1e-9);
  t.is((await sharp(join(folder, 'out.jpg')).metadata()).format, 'jpeg');

  // The attention map is how it is drawn unless another style is asked for; the photo stays beside it.
  const draw = async (...options: string[]) => {
    t.is(
      (await gradcam(['clip', archive, 'cat.png', 'the cat', '-o', 'drawn.png', ...options], folder)).code,
      0,
    );
    return await sharp(join(folder, 'drawn.png')).raw().toBuffer({ resolveWithObject: true });
  };
  const [usual, attention, overlay, original] = [
    await draw(),
    await draw('--style', 'attention'),
    await draw('--style', 'overlay'),
    await draw('--original', '--style', 'contour'),
  ];
  t.is(Buffer.compare(usual.data, attention.data), 0);
  t.not(Buffer.compare(usual.data, overlay.data), 0);
  t.true(original.info.width > 2 * 451, 'the whole photo, twice');
  await gradcam(['clip', archive, 'cat.png', 'the cat', 'a dog', '-o', 'maps.npy'], folder);
  t.regex((await readFile(join(folder, 'maps.npy'))).toString('latin1'), /'shape': \(2, 128, 128\)/);
});

test.serial('clip refuses what is no CLIP, texts that are too long, options without effect', async (t) => {
  await refused(t, ['clip', demoModel, photo, 'a cat'], 3, /no encode_image method.*ERR_NO_FORWARD/);
  const archive = fixturePath('clip/resnet.pt');
  await refused(
    t,
    ['clip', archive, photo, 'cat '.repeat(99)],
    2,
    /99 tokens.*truncate.*ERR_PROMPT_TOO_LONG/,
  );
  await refused(t, ['clip', archive, 'no.png', 'cat'], 2, /no file or folder/);
  await refused(t, ['clip', archive, photo, 'cat', '--threshold', '0.2'], 2, /--threshold.*'attention'/);
  await refused(t, ['clip', archive, photo, 'cat', '-l', 'layer4'], 2, /visual\.layer4/);
});
