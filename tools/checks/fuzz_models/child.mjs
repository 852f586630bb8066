// Explains the networks that its parent names, one after the other, and tells what is wrong with each.
import { describePlan, loadModel } from 'node-gradcam';
import { checkNetwork } from '../../../dist/test/helpers/fuzzed-networks.js';

async function graphsOf(network, path) {
  let model;
  try {
    model = await loadModel(path);
    const { prefix, tail } = await describePlan(model, network.layer);
    return `prefix: ${prefix.graph}\ntail: ${tail.graph}`;
  } catch (error) {
    return `no plan: ${error.message}`;
  } finally {
    await model?.dispose();
  }
}

process.on('message', async ({ network, path, graphs }) => {
  try {
    const verdict = await checkNetwork(network, path);
    process.send({ verdict, graphs: graphs ? await graphsOf(network, path) : undefined });
  } catch (error) {
    const kind = error?.code ?? 'no code';
    const faults = [{ kind, text: `${kind}: ${error?.message}` }];
    process.send({ verdict: { faults, refusals: [], mapsCompared: 0, mapsSkipped: 0 } });
  }
});
process.send({ ready: true });
