/** `parse` with the signature of `@std/yaml`, on js-yaml. See `../../README.md`. */
import { CORE_SCHEMA, FAILSAFE_SCHEMA, JSON_SCHEMA, load, YAMLException } from "npm:js-yaml@^4.1.0";

/** Names of the schemas that decide how a plain scalar is read. */
export type SchemaType = "failsafe" | "json" | "core" | "default";

/** The options of {@linkcode parse} that this project uses. */
export interface ParseOptions {
  schema?: SchemaType;
  allowDuplicateKeys?: boolean;
}

const SCHEMAS = { failsafe: FAILSAFE_SCHEMA, json: JSON_SCHEMA, core: CORE_SCHEMA };

/** Reads one YAML document; throws a `SyntaxError` that ends in `at line L, column C`. */
export function parse(content: string, options: ParseOptions = {}): unknown {
  const { schema = "default", allowDuplicateKeys = false } = options;
  try {
    return load(content, {
      json: allowDuplicateKeys,
      ...(schema === "default" ? {} : { schema: SCHEMAS[schema] }),
    });
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error;
    // js-yaml brings no types.
    const { reason, mark } = error as unknown as {
      reason: string;
      mark?: { line: number; column: number };
    };
    const where = mark ? ` at line ${mark.line + 1}, column ${mark.column + 1}` : "";
    throw new SyntaxError(`${reason}${where}`);
  }
}
