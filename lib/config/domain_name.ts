/**
 * Domain names as a configuration spells them: letters, digits, hyphens and underscores.
 *
 * @module
 */

/** Longest name, without its trailing dot. */
const NAME_MAX = 253;

const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);

/**
 * Reads a domain name.
 *
 * @param text The name, with or without its trailing dot.
 * @returns The name in lower case without a trailing dot, or `null`.
 */
export function parseDomain(text: string): string | null {
  const name = text.toLowerCase().replace(/\.$/, "");
  return name.length <= NAME_MAX && NAME.test(name) ? name : null;
}
