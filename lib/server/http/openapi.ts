import type { FastifyInstance } from 'fastify';
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';
import type { OpenAPIV3_1 } from 'openapi-types';

const picture = { type: 'string', format: 'binary' } as const;
const pictures = (names: readonly string[]) =>
  Object.fromEntries(names.map((name) => [name, { schema: picture }]));

const reference = (name: string) => ({ $ref: `#/components/schemas/${name}` });

/** What the routes' schemas refer to: parts that hold themselves, which no validator walks through. */
const recursive = {
  /** A tensor in JSON. */
  Numbers: {
    anyOf: [{ type: ['number', 'boolean'] }, { type: 'array', minItems: 1, items: reference('Numbers') }],
  },
  /** For a parameter of a model's forward. */
  Argument: {
    anyOf: [
      { type: ['string', 'number', 'boolean', 'null'] },
      { type: 'array', items: reference('Argument') },
      { type: 'object', propertyNames: reference('FreeName'), additionalProperties: reference('Argument') },
    ],
  },
  /** Of what has names of its own. */
  FreeName: {
    type: 'string',
    not: { const: '__proto__' },
    description: 'JSON with the key `__proto__`, or with `prototype` in a `constructor`, is not read',
  },
} as Record<string, OpenAPIV3_1.SchemaObject>;

/** Bodies that are not JSON: the routes' schemas do not describe them, since nothing of them is to be validated. */
function describeBinaryBodies(document: Partial<OpenAPIV3_1.Document>): void {
  for (const [path, item] of Object.entries(document.paths ?? {})) {
    const post = item?.post;
    if (!post) continue;
    const answer = post.responses?.['200'] as OpenAPIV3_1.ResponseObject | undefined;
    if (path.endsWith('/explain/{model}')) {
      post.requestBody = {
        required: true,
        content: {
          ...pictures(['image/jpeg', 'image/png', 'image/webp', 'image/avif', 'application/octet-stream']),
          'multipart/form-data': {
            schema: { type: 'object', properties: { image: picture }, required: ['image'] },
          },
          // Whatever it is called: the bytes tell what they are.
          ...pictures(['*/*']),
        },
      };
      if (answer)
        answer.content = {
          ...answer.content,
          ...pictures(['image/png', 'image/jpeg', 'image/webp', 'image/avif', 'application/x-npy']),
        };
    }
    // Of these all is optional.
    if (path.includes('/v2/repository/')) Object.assign(post.requestBody ?? {}, { required: false });
    if (path.endsWith('/infer')) {
      const body = post.requestBody as OpenAPIV3_1.RequestBodyObject;
      body.description =
        'JSON; or JSON with the bytes of tensors behind it, its length in the header Inference-Header-Content-Length';
      Object.assign(body.content, pictures(['application/octet-stream']));
      if (answer) answer.content = { ...answer.content, ...pictures(['application/octet-stream']) };
    }
  }
}

/** Collects the routes' schemas; the document is at `/openapi.json`. Register it before the routes. */
export async function openApi(
  server: FastifyInstance,
  { version, secured }: { version: string; secured: boolean },
): Promise<void> {
  await server.register(import('@fastify/swagger'), {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'node-gradcam',
        description: 'Heatmaps of what speaks for a class, from PyTorch vision models.',
        version,
        license: { name: 'MIT', identifier: 'MIT' },
      },
      ...(secured
        ? {
            components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
            security: [{ token: [] }],
          }
        : {}),
    },
    transform: jsonSchemaTransform,
    transformObject: (documents) => {
      const document = jsonSchemaTransformObject(documents) as Partial<OpenAPIV3_1.Document>;
      describeBinaryBodies(document);
      document.components = {
        ...document.components,
        schemas: { ...document.components?.schemas, ...recursive },
      };
      return document;
    },
  });
  server.get('/openapi.json', { schema: { hide: true } }, async () => server.swagger());
}
