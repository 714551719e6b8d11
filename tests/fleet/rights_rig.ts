/**
 * The rights of docs/fleet.md as a server's configuration.
 *
 * @module
 */
import { assert } from "@std/assert";

const TEXT = Deno.readTextFileSync(new URL("../../docs/fleet.md", import.meta.url));

/** The configuration of the document, without what the test's own server says of its place. */
export function accountsOf(): string {
  const [, block = ""] = /^```conf\n([^]*?)^```$/m.exec(TEXT) ?? [];
  const [accounts = ""] = /^accounts \{[^]*/m.exec(block) ?? [];
  assert(accounts.includes("GATEWAYS"));
  return accounts;
}
