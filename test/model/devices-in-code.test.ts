import test from 'ava';
import { GradCAM, type Tensor } from 'node-gradcam';
import { readJson } from '../helpers/fixtures.js';
import { closeToFloat64, ways } from '../helpers/float64-result.js';
import { fixturePath } from '../helpers/root.js';
import { sharedModel } from '../helpers/shared-models.js';
import { type StoredValues, tensorOf } from '../helpers/stored-values.js';

// Scripted networks written for a GPU, on the CPU: a device in an attribute, an argument's default, an expression, a call.
// Outputs of a twin that was written for the CPU: tools/fixtures/networks/devices.py.

const { input, cases } = readJson<{
  input: StoredValues;
  cases: readonly {
    readonly name: string;
    readonly outputs: StoredValues;
    readonly referenceError: number;
  }[];
}>('devices/golden.json');

for (const { name, outputs, referenceError } of cases) {
  for (const { optimize, dtype } of ways) {
    test(`${name}, optimize ${optimize}, ${dtype}`, async (t) => {
      const model = await sharedModel(fixturePath(`devices/${name}.pt`), dtype);
      const image = tensorOf(input);
      const plain = (await model.forward(image)) as Tensor;
      closeToFloat64(t, 'forward', plain, outputs.values, { referenceError, dtype });
      const explanation = await new GradCAM({ model, targetLayers: 'conv', optimize }).explain(image);
      closeToFloat64(t, 'explain', explanation.outputs as Tensor, outputs.values, { referenceError, dtype });
    });
  }
}
