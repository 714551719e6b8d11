/**
 * Sources of a configuration, and what is said of wrong ones.
 *
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import {
  type ConfigSources,
  resolveConfig,
  type ResolvedConfig,
} from "../../lib/config/resolve.ts";

/** A file of some lines, named `gateway.yaml`. */
export function fromYaml(...lines: string[]): ConfigSources {
  return { file: { name: "gateway.yaml", text: lines.join("\n") } };
}

/** Where the value of a key comes from. */
export function origin(config: ResolvedConfig, key: string): string | undefined {
  return config.entries.find((entry) => entry.key === key)?.origin;
}

/** Expects the problems of a configuration, all of them. */
export function refused(sources: ConfigSources, ...lines: string[]): void {
  const error = assertThrows(() => resolveConfig(sources), ConfigError) as ConfigError;
  assertEquals(error.message.split("\n"), lines);
}
