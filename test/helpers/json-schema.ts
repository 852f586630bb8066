import fc from 'fast-check';

// As much of JSON Schema as docs/sidecar.schema.json uses: whether a value fits, and values that do.

export interface JsonSchema {
  readonly type?: 'object' | 'array' | 'string' | 'number' | 'integer' | 'boolean';
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: JsonSchema | false;
  readonly prefixItems?: readonly JsonSchema[];
  readonly items?: JsonSchema | false;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
}

/** Whether a value that came from JSON fits the schema. Unknown properties do where it says of what kind they are. */
export function fits(schema: JsonSchema, value: unknown): boolean {
  if (schema.anyOf && !schema.anyOf.some((each) => fits(each, value))) return false;
  if (schema.enum && !schema.enum.includes(value)) return false;
  if ('const' in schema && schema.const !== value) return false;
  if (schema.type === 'object') {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    const known = new Map(Object.entries(schema.properties ?? {}));
    return (
      (schema.required ?? []).every((key) => Object.hasOwn(value, key)) &&
      Object.entries(value).every(([key, each]) => {
        const property = known.get(key) ?? schema.additionalProperties;
        return property !== undefined && property !== false && fits(property, each);
      })
    );
  }
  if (schema.type === 'array') {
    if (!Array.isArray(value)) return false;
    const { minItems = 0, maxItems = Number.POSITIVE_INFINITY, prefixItems = [], items } = schema;
    if (value.length < minItems || value.length > maxItems) return false;
    return value.every((each, index) => {
      const item = prefixItems[index] ?? items;
      return item !== false && (item === undefined || fits(item, each));
    });
  }
  if (schema.type === 'number' || schema.type === 'integer') {
    if (typeof value !== 'number' || !Number.isFinite(value)) return false;
    if (schema.type === 'integer' && !Number.isSafeInteger(value)) return false;
    const { minimum = -Infinity, maximum = Infinity, exclusiveMinimum = -Infinity } = schema;
    return value >= minimum && value <= maximum && value > exclusiveMinimum;
  }
  return schema.type === undefined || typeof value === schema.type;
}

/** Values that fit the schema, those at the edges of its ranges among them. */
export function valuesOf(schema: JsonSchema): fc.Arbitrary<unknown> {
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map(valuesOf));
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if ('const' in schema) return fc.constant(schema.const);
  const { minimum, maximum, exclusiveMinimum, minItems = 0, maxItems = 4 } = schema;
  switch (schema.type) {
    case 'object': {
      const entries = Object.entries(schema.properties ?? {}).map(([key, each]) => [key, valuesOf(each)]);
      return fc.record(Object.fromEntries(entries), { requiredKeys: [...(schema.required ?? [])] as never });
    }
    case 'array':
      return schema.prefixItems
        ? fc.tuple(...schema.prefixItems.map(valuesOf))
        : fc.array(valuesOf(schema.items || {}), { minLength: minItems, maxLength: maxItems });
    case 'integer':
      return fc.integer({ min: minimum ?? -1000, max: Math.min(maximum ?? 1000, 65_535) });
    case 'number':
      return fc.double({
        min: minimum ?? exclusiveMinimum ?? -1e308,
        max: maximum ?? 1e308,
        minExcluded: exclusiveMinimum !== undefined,
        noNaN: true,
      });
    case 'boolean':
      return fc.boolean();
    default:
      return fc.string();
  }
}
