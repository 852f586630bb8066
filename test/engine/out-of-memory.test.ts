import test from 'ava';
import { runScript } from '../helpers/run-script.js';

// Memory that cannot be had: an error, and the process goes on. Each case is a process of its own, with a limit.

const limited = (script: string) => `
  import { execFileSync } from 'node:child_process';
  import { readFileSync } from 'node:fs';
  import { GradCAM, loadModel, setThreads, Tensor } from 'node-gradcam';
  setThreads({ executors: 1, intraOpThreads: 1 });
  const model = await loadModel('test/fixtures/scripted.pt');
  const cam = new GradCAM({ model, targetLayers: 'layer2' });
  const images = (count) => Tensor.from(new Float32Array(count * 3 * 224 * 224).fill(0.1), [count, 3, 224, 224]);
  const one = images(1);
  const before = (await cam.explain(one)).heatmaps.toTypedArray().join();
  const allow = (more) => {
    const [, used] = /VmSize:\\s+(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
    execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + (Number(used) * 1024 + more) + ':']);
  };
  const expect = (error, code) => { if (error?.code !== code) throw error ?? new Error('no error'); };
  ${script}
  if ((await cam.explain(one)).heatmaps.toTypedArray().join() !== before) throw new Error('another map');
`;

const shortages: readonly [name: string, script: string][] = [
  [
    'a batch that is too large',
    `const many = images(48);
     allow(60e6); // it takes twice that
     for (let round = 0; round < 3; round++) expect(await cam.explain(many).catch((error) => error), 'ERR_OUT_OF_MEMORY');`,
  ],
  [
    'a large result that JavaScript cannot hold',
    `const large = Tensor.from(new Float32Array(30e6), [30e6]);
     allow(60e6);
     let failure;
     try { large.toTypedArray(); } catch (error) { failure = error; }
     expect(failure, 'ERR_OUT_OF_MEMORY');
     large.dispose();`,
  ],
  [
    'a tensor that does not fit',
    `const data = new Float32Array(30e6);
     allow(60e6);
     let failure;
     try { Tensor.from(data, [30e6]); } catch (error) { failure = error; }
     expect(failure, 'ERR_OUT_OF_MEMORY');`,
  ],
  [
    'models that do not fit',
    `allow(50e6);
     const models = [];
     const failure = await (async () => {
       for (;;) models.push(await loadModel('examples/models/efficientnet_lite0.pt'));
     })().catch((error) => error);
     expect(failure, 'ERR_OUT_OF_MEMORY');
     if (models.length > 20) throw new Error('the limit is not one');
     for (const each of models) await each.dispose();`,
  ],
  [
    'no memory for another thread',
    `allow(2e6);
     setThreads({ executors: 4 });
     const results = await Promise.allSettled(Array.from({ length: 4 }, () => cam.explain(one)));
     for (const { reason } of results) if (reason) expect(reason, 'ERR_OUT_OF_MEMORY');
     allow(500e6);`,
  ],
];

for (const [name, script] of shortages) {
  test(`ERR_OUT_OF_MEMORY, and the process goes on: ${name}`, async (t) => {
    const { code, signal, stderr } = await runScript(limited(script));
    t.is(signal, null, stderr);
    t.is(code, 0, stderr);
    t.is(stderr, '');
  });
}

// A thread asks for its stack at once: 64 MB, where JavaScript's heap, which must go on growing, is left 30.
test('where no thread can be started, a job is refused, and later ones are not lost', async (t) => {
  const script = `
    import { execFileSync } from 'node:child_process';
    import { readFileSync } from 'node:fs';
    import { loadModel, threads } from 'node-gradcam';
    threads();
    const limit = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + bytes + ':']);
    const [, used] = /VmSize:\\s+(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
    limit(Number(used) * 1024 + 30e6);
    const error = await loadModel('test/fixtures/scripted.pt').catch((error) => error);
    limit('unlimited');
    if (error.code !== 'ERR_OUT_OF_MEMORY') throw error;
    await (await loadModel('test/fixtures/scripted.pt')).dispose();`;
  const { code, signal, stderr } = await runScript(script, {}, ['prlimit', `--stack=${64 * 1024 ** 2}`]);
  t.is(signal, null, stderr);
  t.is(code, 0, stderr);
});
