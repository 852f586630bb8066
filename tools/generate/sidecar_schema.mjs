// Writes docs/sidecar.schema.json from the schema that the library checks sidecars with. Run with:
// npm run build && node tools/generate/sidecar_schema.mjs
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { sidecarSchema } from '../../dist/lib/sidecar/schema.js';

const schema = z.toJSONSchema(sidecarSchema, { io: 'input' });
const path = fileURLToPath(new URL('../../docs/sidecar.schema.json', import.meta.url));
writeFileSync(path, `${JSON.stringify(schema, null, 2)}\n`);
