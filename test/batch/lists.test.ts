import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { batchStatus, collectManifest, runBatch, submitBatch } from 'node-gradcam/batch';
import {
  BatchProcess,
  makePictures,
  modelPath,
  newQueue,
  readManifest,
  submission,
  withRedis,
  workUntilDone,
  writePicture,
} from '../helpers/batch.js';

// Another list of pictures is another batch: neither takes the other's work away.

const names = async (output: string) => (await readManifest(output)).map(({ input }) => input);

withRedis('two lists on standard input, one after the other: both are done', async (t) => {
  const { root, photos } = await makePictures(6);
  const { address, args } = newQueue();
  const output = join(root, 'out');
  const paths = ['0001', '0002', '0004', '0005'].map((name) => join(photos, `${name}.png`));
  const submit = async (list: readonly string[]) => {
    const process = new BatchProcess(t, 'submit', modelPath, '--list', '-', '-o', output, ...args);
    for (const path of list) process.type(path);
    process.endInput();
    const { code, stdout, stderr } = await process.ended;
    t.is(code, 0, stderr);
    return /^Batch ([0-9a-f]{16}),/.exec(stdout)?.[1];
  };
  const first = await submit(paths.slice(0, 3));
  const second = await submit(paths.slice(3));
  t.not(first, second);
  t.is((await batchStatus(address)).chunks.waiting, 2, 'the first one waits as well');
  t.is((await workUntilDone(address)).images, 4);
  t.like(await collectManifest(output), { images: 4, missingChunks: 0 });
  t.deepEqual((await names(output)).sort(), paths);
  t.is(await submit(paths.slice(0, 3)), first, 'the same list is the same batch');
  t.is((await batchStatus(address)).chunks.waiting, 0, 'which is done');
});

withRedis('a list that is written anew is another batch; what was in both is explained once', async (t) => {
  const { root, photos } = await makePictures(6);
  const { address } = newQueue();
  const list = join(root, 'list of photos.txt');
  const [a, b, c] = ['0001', '0002', '0004'].map((name) => join(photos, `${name}.png`));
  const options = { ...submission(root, address), images: [], list };
  await writeFile(list, `${a}\n${b}\n`);
  const first = await submitBatch(options);
  await writeFile(list, `${b}\r\n\n${c}`);
  const second = await submitBatch(options);
  t.not(first.batch, second.batch);
  await workUntilDone(address);
  const { batches } = await batchStatus(address);
  t.deepEqual(
    batches.map(({ images }) => [images.total, images.computed, images.reused]),
    [
      [2, 2, 0],
      [2, 1, 1],
    ],
  );
  await collectManifest(join(root, 'out'));
  t.deepEqual((await names(join(root, 'out'))).sort(), [a, b, c]);
});

withRedis('names with spaces and line separators, in a list and in a folder', async (t) => {
  const { root, photos } = await makePictures(1);
  const strange = [' a b.png', 'line\u2028separator.png', 'tab\there.png'].map((name) => join(photos, name));
  for (const [index, path] of strange.entries()) await writePicture(path, 50 + index);
  const list = join(root, 'list.txt');
  await writeFile(list, strange.join('\n'));
  const options = submission(root, {});
  const listed = await runBatch({ ...options, images: [], list });
  t.like(listed, { images: 3, failed: 0 });
  t.like(await runBatch(options), { images: 4, failed: 0, reused: 3 });
});
