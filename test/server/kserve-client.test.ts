import test from 'ava';
import { noise } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';
import { startServer } from '../helpers/server.js';

test("KServe's client repeats the model's name in the body", async (t) => {
  await using running = await startServer({ models: { tiny: fixturePath('scripted.pt') } });
  const body = {
    id: 'a-1',
    model_name: 'tiny',
    inputs: [{ name: 'x', shape: [1, 3, 16, 16], datatype: 'FP32', data: [...noise(3 * 16 * 16)] }],
  };
  const answer = await running.post('/v2/models/tiny/infer', body);
  t.is(answer.status, 200);
  t.like(await answer.json(), { id: 'a-1', model_name: 'tiny' });
  const other = await running.post('/v2/models/tiny/infer', { ...body, model_name: 'other' });
  t.is(other.status, 400);
  t.like(await other.json(), {
    code: 'ERR_INVALID_REQUEST',
    error: 'The address is of the model tiny, but model_name is other.',
  });
});
