/**
 * Ports of a rule: `443`, `8000-8010`, and lists of both with commas between.
 *
 * What is read is in ascending order and joined where ranges touch, so that two lists of the same
 * ports are the same list. Limit: 64 ports and ranges as written.
 *
 * @module
 */
import type { PortRange } from "./rule.ts";

/** Most ports and ranges of a rule. */
export const PORT_RANGES_MAX = 64;

const PORT_MAX = 65_535;
const BOUNDS = `ports are 1 to ${PORT_MAX}`;

/** Services that people write in place of their ports. */
const SERVICES: ReadonlyMap<string, string> = new Map([
  ["dns", "53"],
  ["domain", "53"],
  ["http", "80"],
  ["https", "443"],
  ["ntp", "123"],
  ["postgres", "5432"],
  ["ssh", "22"],
]);

/**
 * Reads ports.
 *
 * @param text What stands behind the colon.
 * @param hint Makes a question of a better text, or nothing.
 * @returns The ranges, or what is wrong.
 */
export function parsePorts(text: string, hint: (better: string) => string): PortRange[] | string {
  if (text === "") return "no ports behind the colon; write some, such as :443, or no colon";
  if (EVERY.has(text.toLowerCase())) {
    return `"${text}" is no port; leave :${text} out for every port`;
  }
  const parts = text.split(",");
  if (parts.length > PORT_RANGES_MAX) {
    return `${parts.length} ports and ranges in one rule, at most ${PORT_RANGES_MAX}; ` +
      "write several rules";
  }
  const ranges: PortRange[] = [];
  for (const part of parts) {
    const better = (each: string) => hint(parts.map((old) => old === part ? each : old).join(","));
    const range = parseRange(part, better);
    if (typeof range === "string") return range;
    ranges.push(range);
  }
  return joined(ranges);
}

/** The text of ranges. */
export function formatPorts(ranges: readonly PortRange[]): string {
  return ranges.map(({ first, last }) => first === last ? `${first}` : `${first}-${last}`)
    .join(",");
}

const EVERY: ReadonlySet<string> = new Set(["*", "any", "all", "0-65535"]);

function parseRange(text: string, hint: (better: string) => string): PortRange | string {
  if (text === "") return "a port is missing beside a comma; write ports as in 80,443";
  const match = /^([0-9]+)(?:-([0-9]+))?$/.exec(text);
  if (match === null) {
    if (/^[0-9]*-[0-9]*$/.test(text)) {
      return `"${text}" lacks an end; write a range as in 8000-8010`;
    }
    const service = SERVICES.get(text.toLowerCase());
    return `"${text}" is no port; write its number${service === undefined ? "" : hint(service)}`;
  }
  const [, firstText = "", lastText = firstText] = match;
  for (const each of [firstText, lastText]) {
    const plain = each.replace(/^0+/, "");
    if (plain === "") return `port ${each} is none; ${BOUNDS}`;
    if (Number(plain) > PORT_MAX) return `port ${each} is too large; ${BOUNDS}`;
    if (plain !== each) return `"${each}" begins with a zero${hint(text.replace(each, plain))}`;
  }
  const first = Number(firstText);
  const last = Number(lastText);
  if (first > last) return `${text} runs backwards${hint(`${last}-${first}`)}`;
  return { first, last };
}

function joined(ranges: readonly PortRange[]): PortRange[] {
  const out: PortRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.first - b.first)) {
    const before = out.at(-1);
    if (before === undefined || range.first > before.last + 1) out.push(range);
    else if (range.last > before.last) {
      out[out.length - 1] = { first: before.first, last: range.last };
    }
  }
  return out;
}
