import test from 'ava';
import { loadModel, Tensor } from 'node-gradcam';
import { fixturePath } from '../helpers/root.js';

// Images of any size may come, so that of the inspections that suggest a layer only some are kept.

test('the sixteen inspections that were used last are kept', async (t) => {
  await using model = await loadModel(fixturePath('scripted.pt'));
  const forwardsFor = async (size: number) => {
    const before = model.stats().jobs.done;
    await model.suggestLayer(Tensor.zeros([1, 3, size, size]));
    return model.stats().jobs.done - before;
  };
  const sizes = Array.from({ length: 17 }, (_, index) => 16 + index);
  for (const size of sizes.slice(0, 16)) t.is(await forwardsFor(size), 1, `${size}, new`);
  for (const size of sizes.slice(0, 16)) t.is(await forwardsFor(size), 0, `${size}, kept`);
  t.is(await forwardsFor(32), 1, 'one more');
  t.is(await forwardsFor(16), 1, 'the one that was not used for longest is forgotten');
  t.is(await forwardsFor(32), 0);
});
