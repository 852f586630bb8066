import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import { demoModel, fitsColumns, gradcam, photo, refused } from '../helpers/cli.js';
import { temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath } from '../helpers/root.js';

// What every command that explains images promises, whichever it is.

const tiny = fixturePath('scripted.pt');
const small = ['--size', '32'];

/** Photos of which the second cannot be read. */
async function photosIn(folder: string, names = ['a.png', 'b.jpg', 'c.png']): Promise<void> {
  for (const name of names) {
    const path = join(folder, name);
    if (name === 'b.jpg') await writeFile(path, 'no picture');
    else await copyFile(photo, path);
  }
}

const commands: Readonly<Record<string, readonly string[]>> = {
  explain: [],
  attribute: ['-m', 'saliency'],
  evaluate: ['-m', 'gradcam,randomcam'],
};

for (const [command, how] of Object.entries(commands)) {
  const run = (images: readonly string[], folder: string, ...more: string[]) =>
    gradcam([command, tiny, ...images, ...small, ...how, ...more], folder);

  test.serial(`${command}: one bad image of many ends no run`, async (t) => {
    const folder = temporaryFolder(t);
    await photosIn(folder);
    const plain = await run(['.'], folder);
    t.is(plain.code, 1);
    t.regex(plain.stderr, /^error: .*b\.jpg.*\(ERR_IMAGE_LOAD\)\n$/);
    if (command === 'evaluate') t.regex(plain.stdout, /^2 images, best first by ROAD/);
    else t.deepEqual((await readdir(folder)).filter((name) => name.includes('-gradcam')).length, 2);
    const { code, stdout } = await run(['a.png', 'b.jpg', 'c.png'], folder, '--json');
    t.is(code, 1);
    const json = JSON.parse(stdout);
    const failures =
      command === 'evaluate' ? json.failed : json.images.filter((each: object) => 'error' in each);
    t.deepEqual(
      failures.map(({ path, error }: { path: string; error: { code: string } }) => [path, error.code]),
      [['b.jpg', 'ERR_IMAGE_LOAD']],
    );
    t.is(command === 'evaluate' ? json.images : json.images.length - 1, 2);
    t.false('error' in json);
  });

  test.serial(`${command}: folders with all below them, and patterns`, async (t) => {
    const folder = temporaryFolder(t);
    await mkdir(join(folder, 'photos [1]', 'deep', 'deeper'), { recursive: true });
    await photosIn(join(folder, 'photos [1]'), ['a.png']);
    await photosIn(join(folder, 'photos [1]', 'deep', 'deeper'), ['d.png']);
    await sharp(photo)
      .jpeg()
      .toFile(join(folder, 'photos [1]', 'deep', 'e.jpg'));
    const counted = async (argument: string, cwd = folder) => {
      const { code, stdout, stderr } = await run([argument], cwd, '--json');
      t.is(code, 0, stderr);
      const { images } = JSON.parse(stdout);
      return typeof images === 'number' ? images : images.map(({ path }: { path: string }) => path);
    };
    const expected = (...paths: string[]) => (command === 'evaluate' ? paths.length : paths);
    const all = ['a.png', 'deep/deeper/d.png', 'deep/e.jpg'].map((path) => join('photos [1]', path));
    t.deepEqual(await counted('photos [1]'), expected(...all));
    const inside = join(folder, 'photos [1]');
    t.deepEqual(await counted('**/*.png', inside), expected('a.png', 'deep/deeper/d.png'));
    t.deepEqual(await counted('deep/*.{jpg,png}', inside), expected('deep/e.jpg'));
    await refused(t, [command, tiny, '*.gif'], 2, /No file matches the pattern '\*\.gif'/, folder);
    await refused(t, [command, tiny, 'gone.png'], 2, /no file or folder 'gone\.png'/, folder);
  });

  test.serial(`${command}: a second run does not take the first one's pictures`, async (t) => {
    const folder = temporaryFolder(t);
    await photosIn(folder, ['a.png', 'c.png', 'my-gradcam-talk.png']);
    for (const where of ['.', '*.png', '.']) t.is((await run([where], folder)).code, 0);
    const drawn =
      command === 'evaluate' ? [] : ['a', 'c', 'my-gradcam-talk'].map((name) => `${name}-gradcam.png`);
    t.deepEqual((await readdir(folder)).sort(), ['a.png', 'c.png', 'my-gradcam-talk.png', ...drawn].sort());
    // What is named is taken.
    await copyFile(photo, join(folder, 'x-gradcam.png'));
    t.is((await run(['x-gradcam.png'], folder)).code, 0);
  });

  test.serial(`${command}: what is not expected ends the run, and what is done is told`, async (t) => {
    if (command === 'evaluate') return t.pass(); // It writes nothing.
    const folder = temporaryFolder(t);
    await photosIn(folder, ['a.png', 'c.png', 'd.png']);
    await mkdir(join(folder, 'c-gradcam.png', 'in the way'), { recursive: true });
    const { code, stdout, stderr } = await run(['a.png', 'c.png', 'd.png'], folder, '--json');
    t.is(code, 4, stderr);
    t.regex(stderr, /^error: .*c-gradcam\.png.*\n$/);
    const { images, error } = JSON.parse(stdout);
    t.deepEqual(
      images.map(({ path }: { path: string }) => path),
      ['a.png'],
    );
    t.true(['EISDIR', 'ENOTEMPTY', 'EEXIST'].includes(error.code), error.code);
    t.deepEqual((await readdir(folder)).sort(), [
      'a-gradcam.png',
      'a.png',
      'c-gradcam.png',
      'c.png',
      'd.png',
    ]);
  });
}

test.serial(
  'what the model refuses of the first image is that image’s own, if it takes the next',
  async (t) => {
    const folder = temporaryFolder(t);
    const black = { create: { width: 16, height: 16, channels: 3, background: '#000' } } as const;
    for (const name of ['dark.png', 'night.png']) await sharp(black).png().toFile(join(folder, name));
    await copyFile(photo, join(folder, 'light.png'));
    const how = ['--size', '16', '--mean', '0,0,0', '--std', '1,1,1', '-l', 'body', '--json'];
    const explain = (...images: string[]) =>
      gradcam(['explain', fixturePath('batches/refuses-dark.pt'), ...images, ...how], folder);
    for (const images of [
      ['dark.png', 'light.png'],
      ['light.png', 'dark.png', 'night.png', 'light.png'],
    ]) {
      const { code, stdout, stderr } = await explain(...images);
      t.is(code, 1, stderr);
      const reports = JSON.parse(stdout).images as { path: string; error?: { code: string } }[];
      const failed = reports.filter(({ error }) => error);
      t.deepEqual(
        failed.map(({ path, error }) => [path, error?.code]),
        images.filter((name) => name !== 'light.png').map((name) => [name, 'ERR_FORWARD']),
      );
      t.is(reports.length, images.length);
    }
    // Where the first two are refused, it is the model.
    const { code, stdout, stderr } = await explain('dark.png', 'night.png', 'light.png');
    t.deepEqual([code, stdout], [3, '']);
    t.regex(stderr, /^error: .*too dark[\s\S]*\(ERR_FORWARD\)\n$/);
  },
);

test.serial('clip and factorize: an image that cannot be read is 1, and told in JSON', async (t) => {
  const folder = temporaryFolder(t);
  await photosIn(folder, ['b.jpg']);
  const clip = ['clip', fixturePath('clip/resnet.pt'), 'b.jpg', 'a cat'];
  for (const args of [clip, ['factorize', tiny, 'b.jpg', ...small]]) {
    const plain = await gradcam(args, folder);
    t.is(plain.code, 1, plain.stderr);
    const { code, stdout } = await gradcam([...args, '--json'], folder);
    t.is(code, 1);
    t.like(JSON.parse(stdout), { image: 'b.jpg', error: { code: 'ERR_IMAGE_LOAD' } });
  }
});

test.serial('factorize and layers: one shape of JSON', async (t) => {
  const folder = temporaryFolder(t);
  const factorized = await gradcam(
    ['factorize', demoModel, photo, '-k', '2', '--linear', '_fc', '--json', '-o', 'f.png'],
    folder,
  );
  const { image, output, layer, components, rounds, concepts } = JSON.parse(factorized.stdout);
  t.deepEqual([image, output, layer, components, concepts.length], [photo, 'f.png', '_relu1', 2, 2]);
  t.true(rounds >= 1 && concepts.every((names: string[]) => names.length >= 1));
  const plain = await gradcam(['factorize', tiny, photo, ...small, '--json', '-o', 'g.png'], folder);
  t.is(JSON.parse(plain.stdout).concepts, null);
  const keys = ['model', 'layers', 'suggested', 'suggestionFailure', 'plan', 'warnings'];
  for (const more of [[], ['--input-size', '24'], ['--plan', 'layer1']]) {
    const { stdout } = await gradcam(['layers', tiny, '--json', ...more]);
    const json = JSON.parse(stdout);
    t.deepEqual(Object.keys(json), keys);
    t.true(json.layers.length > 3);
    t.is(json.plan !== null, more.includes('--plan'));
    t.is(json.suggested !== null, more.includes('--input-size'));
  }
});

test.serial('options that may be repeated take one value each', async (t) => {
  const evaluated = await gradcam([
    'evaluate',
    '-m',
    'gradcam',
    ...small,
    '-l',
    'layer1',
    '-l',
    'layer2',
    tiny,
    photo,
  ]);
  t.deepEqual([evaluated.code, evaluated.stderr], [0, '']);
  const { code, stdout } = await gradcam(['layers', '--plan', 'layer1', '--plan', 'layer2', tiny]);
  t.is(code, 0);
  t.regex(stdout, /^How an explain at layer1, layer2 runs the model/);
});

const ownSidecar = { input: { width: 48, height: 48 }, layer: 'layer1' };

test.serial('a file of another program beside the model, and a sidecar elsewhere', async (t) => {
  const folder = temporaryFolder(t);
  await copyFile(tiny, join(folder, 'net.pt'));
  await writeFile(join(folder, 'net.json'), '{"epochs": 3}');
  await writeFile(join(folder, 'own.json'), JSON.stringify(ownSidecar));
  await copyFile(photo, join(folder, 'a.png'));
  for (const [command, ...how] of [
    ['explain', 'net.pt', 'a.png'],
    ['attribute', 'net.pt', 'a.png'],
    ['evaluate', 'net.pt', 'a.png', '-m', 'gradcam'],
    ['factorize', 'net.pt', 'a.png'],
    ['layers', 'net.pt'],
  ] as [string, ...string[]][]) {
    await refused(t, [command, ...how], 3, /epochs.*\(ERR_SIDECAR\)/, folder);
    const without = await gradcam(
      [command, ...how, '--no-sidecar', ...(command === 'layers' ? [] : small)],
      folder,
    );
    t.is(without.code, 0, without.stderr);
    const other = await gradcam([command, ...how, '--sidecar', 'own.json'], folder);
    t.is(other.code, 0, other.stderr);
    await refused(t, [command, ...how, '--sidecar', 'gone.json'], 2, /no file 'gone\.json'/, folder);
  }
  const { stdout } = await gradcam(['explain', 'net.pt', 'a.png', '--sidecar', 'own.json', '--json'], folder);
  t.is(JSON.parse(stdout).images[0].layers[0].path, 'layer1');
  t.is((await sharp(join(folder, 'a-gradcam.png')).metadata()).width, 48);
  await refused(t, ['explain', 'net.pt', 'a.png', '--sidecar', 'own.json', '-o', 'own.json'], 2, /overwrite the model's sidecar/, folder); // biome-ignore format: one line
});

test.serial('--option reaches the method, and what a method does not know is refused', async (t) => {
  const folder = temporaryFolder(t);
  const explain = async (name: string, ...options: string[]) => {
    const args = [
      'explain',
      tiny,
      photo,
      ...small,
      '-m',
      'ablationcam',
      '-o',
      name,
      '-l',
      'layer1',
      ...options,
    ];
    const { code, stderr } = await gradcam(args, folder);
    t.is(code, 0, stderr);
    return await readFile(join(folder, name));
  };
  const plain = await explain('plain.npy');
  t.false(plain.equals(await explain('quarter.npy', '--option', 'ratioChannelsToAblate=0.25')));
  t.true(
    plain.equals(
      await explain('batch.npy', '--option', 'ratioChannelsToAblate=1', '--option', 'batchSize=3'),
    ),
  );
  const wrong = (...options: string[]) => ['explain', tiny, photo, ...options];
  await refused(t, wrong('-m', 'ablationcam', '--option', 'ratio=1'), 2, /'ratio'.*ratioChannelsToAblate.*ERR_UNKNOWN_OPTION/, folder); // biome-ignore format: one line
  await refused(t, wrong('--option', 'batchSize=1'), 2, /'gradcam'\. There are none/, folder);
  await refused(t, wrong('-m', 'scorecam', '--option', 'batchSize=0'), 2, /ERR_OUT_OF_RANGE/, folder);
  await refused(t, wrong('--option', 'batchSize'), 2, /a name and a value/, folder);
  const evaluate = ['evaluate', tiny, photo, ...small, '-m', 'gradcam,randomcam', '--json'];
  const random = async (...options: string[]) =>
    JSON.parse((await gradcam([...evaluate, ...options], folder)).stdout).methods.randomcam.change;
  t.not(await random('--option', 'randomcam.seed=1'), await random('--option', 'randomcam.seed=2'));
  await refused(t, [...evaluate, '--option', 'seed=1'], 2, /ablationcam\.batchSize=32/, folder);
  await refused(t, [...evaluate, '--option', 'gradcam.seed=1'], 2, /'seed'.*There are none/, folder);
});

test.serial('clip takes --option, too', async (t) => {
  const folder = temporaryFolder(t);
  const clip = async (...more: string[]) => {
    const args = [
      'clip',
      fixturePath('clip/resnet.pt'),
      photo,
      'a cat',
      '-m',
      'randomcam',
      '-o',
      'map.npy',
      ...more,
    ];
    const { code, stderr } = await gradcam(args, folder);
    t.is(code, 0, stderr);
    return await readFile(join(folder, 'map.npy'));
  };
  const [one, two] = [await clip('--option', 'seed=1'), await clip('--option', 'seed=2')];
  t.false(one.equals(two));
  t.true(one.equals(await clip('--option', 'seed=1')));
  await refused(t, ['clip', fixturePath('clip/resnet.pt'), photo, 'a cat', '--option', 'seed=1'], 2, /'seed'.*'gradcam'/, folder); // biome-ignore format: one line
});

test.serial('results of names that meet are numbered by the images’ paths', async (t) => {
  const folder = temporaryFolder(t);
  for (const name of ['one', 'two']) await mkdir(join(folder, name));
  const images = ['one/cat.png', 'two/CAT.png', 'two/cat.jpg'];
  for (const name of images) await copyFile(photo, join(folder, name));
  const outputs = async (...order: string[]) => {
    const { stdout } = await gradcam(['explain', tiny, ...order, ...small, '--json'], folder);
    const found = JSON.parse(stdout).images as { path: string; output: string }[];
    return Object.fromEntries(found.map(({ path, output }) => [path, basename(output)]));
  };
  const expected = {
    'one/cat.png': 'cat-gradcam.png',
    'two/CAT.png': 'CAT-gradcam-2.png',
    'two/cat.jpg': 'cat-gradcam-3.png',
  };
  t.deepEqual(await outputs(...images), expected);
  t.deepEqual(await outputs(...images.toReversed()), expected);
});

test.serial('serve goes on with the models that can be loaded', async (t) => {
  const interruption = new AbortController();
  const args = ['serve', '-m', `good=${tiny}`, '-m', 'bad=gone.pt', '--port', '0', '--log-level', 'fatal'];
  let answers: Promise<[number, string]> | undefined;
  let url = '';
  const { code, stderr } = await gradcam(args, temporaryFolder(t), {
    signal: interruption.signal,
    onOutput: (printed) => {
      const [, address] = /^Listening on (\S+),/.exec(printed) ?? [];
      if (address) url = address;
      if (!printed.startsWith('Ready')) return;
      answers = Promise.all([
        fetch(`${url}/v2/health/ready`).then(({ status }) => status),
        fetch(`${url}/v2/models/good`).then((response) => response.text()),
      ]).finally(() => interruption.abort());
    },
  });
  t.is(code, 0);
  t.regex(stderr, /^Not ready: bad: .*gone\.pt.*\nReady: good\n$/m);
  const [ready, good] = (await answers) ?? [];
  t.not(ready, 200);
  t.regex(good ?? '', /"name":"good"/);
});

test.serial('init-sidecar leaves a whole file, and nothing beside it', async (t) => {
  const folder = temporaryFolder(t);
  await copyFile(tiny, join(folder, 'net.pt'));
  for (const more of [[], ['--force']]) {
    t.is((await gradcam(['init-sidecar', 'net.pt', '--size', '24', ...more], folder)).code, 0);
    t.deepEqual((await readdir(folder)).sort(), ['net.json', 'net.pt']);
  }
  await refused(t, ['init-sidecar', 'net.pt', '--size', '24'], 2, /--force/, folder);
});

test.serial('help tells of all exit codes', async (t) => {
  const { stdout } = await gradcam(['explain', '--help']);
  fitsColumns(t, stdout);
  for (const code of [0, 1, 2, 3, 4, 130, 141]) t.regex(stdout, new RegExp(`^ {2}${code} +\\S`, 'm'));
});
