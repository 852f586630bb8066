import { Validator } from '@seriousme/openapi-schema-validator';
import test from 'ava';
import { fixturePath } from '../helpers/root.js';
import { photo, startServer } from '../helpers/server.js';

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

test('what the document says of bodies and bounds is what the server does', async (t) => {
  await using running = await startServer({
    models: { tiny: fixturePath('scripted.pt') },
    maxBatch: 1,
    modelControl: true,
    insecure: true,
  });
  interface Operation {
    readonly parameters?: readonly { name: string; schema: Record<string, unknown> }[];
    readonly requestBody?: {
      required: boolean;
      content: Record<string, { schema: object; examples?: Record<string, { value: unknown }> }>;
    };
  }
  const { paths } = (await (await running.get('/openapi.json')).json()) as {
    paths: Record<string, Record<string, Operation>>;
  };
  const post = (path: string) => paths[path]?.post as Operation & Required<Pick<Operation, 'requestBody'>>;

  // Bodies that may be left out.
  for (const path of ['/v2/repository/index', '/v2/repository/models/{model}/load']) {
    t.false(post(path).requestBody.required, path);
    t.is((await running.get(path.replace('{model}', 'tiny'), { method: 'POST' })).status, 200, path);
  }
  // A picture is taken whatever it is called.
  t.truthy(post('/explain/{model}').requestBody.content['*/*']);
  t.is((await running.post('/explain/tiny', photo, { 'content-type': 'text/x-what' })).status, 200);
  // The bounds of numbers in texts.
  const deadline = post('/explain/{model}').parameters?.find(({ name }) => name === 'deadline_ms');
  t.like(deadline?.schema, { type: 'integer', exclusiveMinimum: 0, maximum: 86_400_000 });
  for (const wrong of ['0', '-1', '1.5', '86400001', 'soon'])
    t.is((await running.post(`/explain/tiny?deadline_ms=${wrong}`, photo)).status, 400, wrong);
  // What it gives as examples works.
  for (const path of [
    '/v1/models/{model}:predict',
    '/v1/models/{model}:explain',
    '/v2/models/{model}/infer',
  ]) {
    const examples = Object.values(post(path).requestBody.content['application/json']?.examples ?? {});
    t.true(examples.length > 0, path);
    for (const { value } of examples) {
      const answer = await running.post(path.replace('{model}', 'tiny'), value);
      t.is(answer.status, 200, `${path}: ${await answer.text()}`);
    }
  }
  // Every type that it names is read; another is refused.
  const { content } = post('/v2/models/{model}/infer').requestBody;
  const described = JSON.stringify(content['application/json']?.schema);
  for (const datatype of [
    'FP32',
    'FP64',
    'FP16',
    'BF16',
    'INT8',
    'INT16',
    'INT32',
    'INT64',
    'UINT8',
    'BOOL',
  ]) {
    t.true(described.includes(`"${datatype}"`), datatype);
    const inputs = [{ name: 'x', shape: [1, 3, 16, 16], datatype, data: Array(768).fill(1) }];
    const answer = (await (await running.post('/v2/models/tiny/infer', { inputs })).json()) as {
      code?: string;
    };
    // Read, and then refused by the model where it takes no such type.
    t.true([undefined, 'ERR_INPUT_DTYPE'].includes(answer.code), `${datatype}: ${answer.code}`);
  }
  for (const [field, value] of Object.entries({ datatype: 'UINT16', shape: [1, 0, 16, 16], data: [] })) {
    const inputs = [
      { name: 'x', shape: [1, 3, 16, 16], datatype: 'FP32', data: Array(768).fill(1), [field]: value },
    ];
    t.is((await running.post('/v2/models/tiny/infer', { inputs })).status, 400, field);
  }
});

test('what it says of texts that hold something is what the server reads', async (t) => {
  await using running = await startServer({ models: { tiny: fixturePath('scripted.pt') }, maxBatch: 1 });
  const whole = await (await running.get('/openapi.json')).text();
  t.false(whole.includes('prefixItems'), 'many programs that read documents do not know them');
  const { paths } = JSON.parse(whole) as {
    paths: Record<
      string,
      {
        post: {
          requestBody: {
            content: Record<string, { schema: { properties: Record<string, { properties: object }> } }>;
          };
        };
      }
    >;
  };
  const { schema } = paths['/v2/models/{model}/infer']?.post.requestBody.content['application/json'] ?? {};
  const parameters = schema?.properties.parameters?.properties as Record<string, object>;
  const json = { contentMediaType: 'application/json' };
  t.like(parameters.arguments, json);
  t.like(parameters.options, { ...json, contentSchema: { propertyNames: { maxLength: 100 } } });

  /** Whether the request is read; what the model makes of it comes after. */
  const reads = async (given: object) => {
    const inputs = [{ name: 'x', shape: [1, 3, 16, 16], datatype: 'FP32', data: Array(768).fill(1) }];
    const answer = await running.post('/v2/models/tiny/infer', { inputs, parameters: given });
    return !(await answer.text()).includes('The body is not valid');
  };
  const [, boxText] = (parameters.box as { anyOf: unknown }).anyOf as [
    object,
    { pattern: string; maxLength: number },
  ];
  const [oneText, severalTexts] = (parameters.texts as { anyOf: unknown }).anyOf as [
    { pattern: string },
    object,
  ];
  t.like(severalTexts, { ...json, contentSchema: { maxItems: 100 } });
  const boxes = [
    '0',
    ' 12 ',
    '1,2,3,4',
    '-1.5, 2, 30.25 ,4e-3',
    '',
    '1,2,3',
    '1e9',
    '0x10',
    '1;2',
    '-1',
    '+1',
  ];
  for (const box of [...boxes, 'Infinity,1,2,3', '1,2,3,4,5', '1000000000,0,0,0', ' ', ',,,'])
    t.is(await reads({ box }), new RegExp(boxText.pattern, 'u').test(box), box);
  for (const texts of ['a cat', 'a [cat]', '"a"', ' ', '[', ' [not an array', '[]', '[1]', '{}'])
    t.is(await reads({ texts }), new RegExp(oneText.pattern, 'u').test(texts), texts);
  t.true(await reads({ texts: ' ["a cat", "[a dog"]' }));
  t.false(await reads({ texts: JSON.stringify(Array(101).fill('a')) }));
  t.true(await reads({ texts: 'a'.repeat(2000) }));
  t.false(await reads({ texts: 'a'.repeat(2001) }), 'as in an array');
  for (const [options, is] of [
    ['{}', true],
    ['', false],
    ['[]', false],
    [JSON.stringify({ ['a'.repeat(101)]: 1 }), false],
  ] as const)
    t.is(await reads({ options }), is, options);
});

test('where names are free it says which one is not', async (t) => {
  await using running = await startServer({ models: { tiny: fixturePath('scripted.pt') }, maxBatch: 1 });
  const document = await (await running.get('/openapi.json')).json();
  const free: Record<string, { propertyNames?: object }> = {};
  const walk = (value: unknown, path: string): void => {
    if (typeof value !== 'object' || value === null) return;
    const { type, additionalProperties } = value as { type?: string; additionalProperties?: unknown };
    if (type === 'object' && ![undefined, false].includes(additionalProperties as undefined))
      free[path] = value;
    for (const [key, each] of Object.entries(value)) walk(each, `${path}/${key}`);
  };
  const { paths, components } = document as {
    paths: Record<string, { post?: { requestBody?: object } }>;
    components: { schemas: { Argument: object; FreeName: object } };
  };
  for (const [path, { post }] of Object.entries(paths)) walk(post?.requestBody, path);
  walk(components.schemas.Argument, 'Argument');
  t.true(Object.keys(free).length > 8, Object.keys(free).join('\n'));
  for (const [path, { propertyNames = {} }] of Object.entries(free))
    t.true('$ref' in propertyNames || 'not' in propertyNames, path);
  t.like(components.schemas.FreeName, { not: { const: '__proto__' } });
  const inputs = '[{"name":"x","shape":[1,3,16,16],"datatype":"FP32","data":[1]}]';
  for (const parameters of ['{"__proto__":{}}', '{"arguments":{"a":[{"__proto__":1}]}}']) {
    const body = Buffer.from(`{"inputs":${inputs},"parameters":${parameters}}`);
    const answer = await running.post('/v2/models/tiny/infer', body, { 'content-type': 'application/json' });
    t.is(answer.status, 400);
    t.regex(await answer.text(), /The body is not valid JSON/);
  }
});
