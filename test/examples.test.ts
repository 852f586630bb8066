import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import sharp from 'sharp';

// Every example is run as its first lines say, and short enough to be read at once.

const root = fileURLToPath(new URL('../../', import.meta.url));
const photo = join(root, 'examples', 'photos', 'chelsea.png');

interface Ending {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface Example {
  readonly name: string;
  /** Makes what the example needs in an empty folder, and says its arguments. */
  readonly prepare: (folder: string) => Promise<string[]>;
  readonly check: (t: ExecutionContext, ending: Ending, folder: string) => Promise<void>;
}

const examples: readonly Example[] = [
  {
    name: 'batch-of-files',
    prepare: async (folder) => {
      const photos = join(folder, 'photos');
      await mkdir(photos);
      const { width = 0 } = await sharp(photo).metadata();
      for (let index = 0; index < 10; index++)
        await sharp(photo)
          .resize(width - 20 * index)
          .jpeg()
          .toFile(join(photos, `cat-${index}.jpg`));
      await writeFile(join(photos, 'broken.jpg'), 'no picture');
      return [photos, join(folder, 'out')];
    },
    check: async (t, { code, stdout }, folder) => {
      t.is(code, 1, 'a photo is broken');
      const lines = stdout.split('\n');
      t.regex(lines[0] ?? '', /^broken\.jpg {2}not explained: .*broken\.jpg/);
      for (let index = 0; index < 10; index++) {
        t.regex(lines[index + 1] ?? '', new RegExp(`^cat-${index}\\.jpg {2}.*(cat|tabby)`));
        const { width, height } = await sharp(join(folder, 'out', `cat-${index}.png`)).metadata();
        t.deepEqual([width, height], [224, 224]);
      }
      t.regex(stdout, /^11 photos, pictures in /m);
    },
  },
];

for (const { name, prepare, check } of examples) {
  test.serial(name, async (t) => {
    const source = await readFile(join(root, 'examples', `${name}.ts`), 'utf8');
    t.true(source.split('\n').length <= 60, 'it has at most 60 lines');
    const folder = await mkdtemp(join(tmpdir(), 'gradcam-example-'));
    const args = [join(root, 'dist', 'examples', `${name}.js`), ...(await prepare(folder))];
    const ending = await new Promise<Ending>((resolve) => {
      const child = execFile(process.execPath, args, { cwd: root }, (_error, stdout, stderr) =>
        resolve({ code: child.exitCode ?? -1, stdout, stderr }),
      );
    });
    await check(t, ending, folder);
  });
}
