import { imageOptions, loadImage, loadSidecar, type Tensor } from 'node-gradcam';
import { liteModel } from './fixtures.js';
import { rootPath } from './root.js';
import { testWith } from './test-with.js';

/** Declares a test that needs a GPU. */
export const onGpu: ReturnType<typeof testWith> = testWith('CUDA');

/** A real photo, as the small real model takes it: [1, 3, 224, 224]. */
export async function photoTensor(): Promise<Tensor> {
  const sidecar = await loadSidecar(liteModel);
  if (!sidecar) throw new Error('The demo model lost its sidecar.');
  return (await loadImage(rootPath('examples/photos/chelsea.png'), imageOptions(sidecar))).tensor;
}

export const values = (tensor: Tensor): Float32Array => tensor.toTypedArray() as Float32Array;
