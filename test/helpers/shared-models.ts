import test from 'ava';
import { type Device, type LoadModelOptions, loadModel, type Model } from 'node-gradcam';

/** GRADCAM_TEST_DEVICE=cuda compares a GPU's results with the same expected values, in test/cam/golden.test.ts and others. */
const device = (process.env.GRADCAM_TEST_DEVICE ?? 'cpu') as Device;

const models = new Map<string, Promise<Model>>();

test.after.always(async () => {
  for (const model of models.values()) await (await model).dispose();
});

/** A model for all tests of a file, for loading a tiny one takes longer than explaining with it. */
export function sharedModel(
  path: string,
  dtype: NonNullable<LoadModelOptions['dtype']> = 'auto',
): Promise<Model> {
  // As the CPU does it: what is stored in float16 is computed in float32.
  const asOnCpu = dtype === 'auto' && device !== 'cpu' ? 'float32' : dtype;
  const key = `${path} ${dtype}`;
  const model = models.get(key) ?? loadModel(path, { dtype: asOnCpu, device });
  models.set(key, model);
  return model;
}
