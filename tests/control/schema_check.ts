/**
 * Holds a value against a JSON schema, as far as the control interface's schemas go: what it does
 * not know of a schema is an error, so that nothing passes unseen.
 *
 * @module
 */

/** A schema as parsed JSON. */
export type Json = { readonly [key: string]: unknown };

const KNOWN = [
  "$ref",
  "additionalProperties",
  "const",
  "default",
  "description",
  "enum",
  "items",
  "minimum",
  "oneOf",
  "properties",
  "required",
  "type",
];

/**
 * Holds a value against a schema.
 *
 * @param value The value.
 * @param schema The schema.
 * @param schemas What `$ref` names.
 * @returns What is wrong, each with its path; none where nothing is.
 */
export function schemaFaults(value: unknown, schema: Json, schemas: Json, path = "$"): string[] {
  const unknown = Object.keys(schema).filter((key) => !KNOWN.includes(key));
  if (unknown.length > 0) throw new Error(`${path}: the check does not know ${unknown}`);
  const ref = schema.$ref as string | undefined;
  if (ref !== undefined) {
    const name = ref.replace("#/components/schemas/", "");
    return schemaFaults(value, schemas[name] as Json, schemas, path);
  }
  if (schema.oneOf !== undefined) {
    const faults = (schema.oneOf as Json[]).map((each) => {
      return schemaFaults(value, each, schemas, path);
    });
    const matches = faults.filter((list) => list.length === 0).length;
    return matches === 1 ? [] : [`${path}: ${matches} of oneOf match: ${faults.flat().join("; ")}`];
  }
  if ("const" in schema && value !== schema.const) return [`${path}: is not ${schema.const}`];
  if ("enum" in schema && !(schema.enum as unknown[]).includes(value)) {
    return [`${path}: ${value} is not in ${schema.enum}`];
  }
  if (schema.type !== undefined && ![schema.type].flat().includes(typeOf(value, schema.type))) {
    return [`${path}: ${JSON.stringify(value)} is no ${schema.type}`];
  }
  if (typeof value === "number" && value < Number(schema.minimum ?? -Infinity)) {
    return [`${path}: ${value} is less than ${schema.minimum}`];
  }
  if (Array.isArray(value)) {
    return value.flatMap((item, i) => {
      return schemaFaults(item, schema.items as Json, schemas, `${path}[${i}]`);
    });
  }
  return typeof value === "object" && value !== null
    ? objectFaults(value as Json, schema, schemas, path)
    : [];
}

function objectFaults(value: Json, schema: Json, schemas: Json, path: string): string[] {
  const properties = (schema.properties ?? {}) as Record<string, Json>;
  const more = schema.additionalProperties;
  const missing = ((schema.required ?? []) as string[]).filter((name) => !(name in value));
  return [
    ...missing.map((name) => `${path}.${name}: is missing`),
    ...Object.entries(value).flatMap(([name, inner]) => {
      const own = properties[name] ?? (typeof more === "object" ? more as Json : undefined);
      if (own !== undefined) return schemaFaults(inner, own, schemas, `${path}.${name}`);
      return more === false ? [`${path}.${name}: is not in the schema`] : [];
    }),
  ];
}

function typeOf(value: unknown, wanted: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  const isInteger = Number.isInteger(value) && [wanted].flat().includes("integer");
  return isInteger ? "integer" : typeof value;
}
