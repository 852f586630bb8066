import { Validator } from '@seriousme/openapi-schema-validator';
import test from 'ava';
import { fixturePath } from '../helpers/root.js';
import { startServer } from '../helpers/server.js';

test('the OpenAPI document is valid and describes every protocol', async (t) => {
  await using running = await startServer({
    models: { tiny: fixturePath('scripted.pt') },
    maxBatch: 1,
    tokens: ['correct horse'],
  });
  const document = (await (await running.get('/openapi.json')).json()) as {
    openapi: string;
    paths: Record<
      string,
      Record<string, { requestBody?: { content: object }; responses: Record<string, { content: object }> }>
    >;
  };
  t.is(document.openapi, '3.1.0');
  const { valid, errors } = await new Validator().validate(document);
  t.true(valid, JSON.stringify(errors));
  for (const path of [
    '/v1/models',
    '/v1/models/{model}:predict',
    '/v1/models/{model}:explain',
    '/v2/health/ready',
    '/v2/models/{model}/infer',
    '/v2/models/{model}/versions/{version}/infer',
    '/v2/repository/models/{model}/load',
    '/explain/{model}',
  ])
    t.truthy(document.paths[path], path);
  const picture = document.paths['/explain/{model}']?.post;
  t.true(Object.keys(picture?.requestBody?.content ?? {}).includes('multipart/form-data'));
  t.true(Object.keys(picture?.responses['200']?.content ?? {}).includes('application/x-npy'));
  t.true(
    Object.keys(document.paths['/v2/models/{model}/infer']?.post?.requestBody?.content ?? {}).includes(
      'application/octet-stream',
    ),
  );
});
