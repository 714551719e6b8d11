/**
 * Targets of a rule: prefixes, classes of addresses, names.
 *
 * A prefix has no bits behind its length. IPv4 has one spelling (four numbers), so a name whose last
 * label is a number is a mistyped address and no name. A name may be written in Unicode; it is kept
 * as its A-labels (UTS 46, as `URL` has it), which is what goes over the wire. A wildcard stands for
 * whole labels in front. A single label that could have been meant as a class is refused, unless a
 * final dot says that it is a name.
 *
 * @module
 */
import { normalizeName } from "../dns/name.ts";
import { formatIp, parseIp4, parseIp6 } from "../wire/address.ts";
import { ADDRESS_CLASS_NAMES } from "./address_class.ts";
import type { RuleClass, RuleTarget } from "./rule.ts";

/** Makes a question of a better target, or nothing where that is none either. */
export type TargetHint = (better: string) => string;

const CLASSES: readonly RuleClass[] = ["public", "private", "host", "loopback", "metadata"];

/** What people write for a class. */
const WORDS: ReadonlyMap<string, RuleClass> = new Map([
  ["any", "public"],
  ["all", "public"],
  ["internet", "public"],
  ["localhost", "loopback"],
  ["lan", "private"],
]);

/**
 * Reads a prefix, an address or a class.
 *
 * @param text The text, without brackets.
 * @param hint Makes a question of a better text.
 * @returns The target, what is wrong with it, or `null` where it can only be a name.
 */
export function parseAddressTarget(text: string, hint: TargetHint): RuleTarget | string | null {
  const name = CLASSES.find((each) => each === text.toLowerCase());
  if (name !== undefined) return { kind: "class", name };
  if (text.includes(":")) return parsePrefix6(text, hint);
  const [addressText = "", ...lengths] = text.split("/");
  const address = parseIp4(addressText);
  if (address !== null) {
    return lengths.length < 2 ? prefixOf(address, lengths[0], text, hint) : ONE_LENGTH;
  }
  if (/^[0-9.]+\/[0-9]+$/.test(text)) return shortPrefixFlaw(text, hint);
  return null;
}

/**
 * Reads a name or a wildcard.
 *
 * @param text The text.
 * @param hint Makes a question of a better text.
 * @returns The target, or what is wrong with it.
 */
export function parseNameTarget(text: string, hint: TargetHint): RuleTarget | string {
  if (text.includes("/")) {
    return /\/[0-9]+$/.test(text)
      ? `a prefix length follows an address alone${hint(text.replace(/\/.*/, ""))}`
      : `${shown(text)} has a path; write the name alone${hint(text.replace(/\/.*/, ""))}`;
  }
  if (/^[*.]+$/.test(text)) {
    return `${shown(text)} names nothing; write public for the Internet, 0.0.0.0/0 and ::/0 for ` +
      "every address, *.example.com for all names below one";
  }
  const wildcard = text.startsWith("*.");
  const written = wildcard ? text.slice(2) : text;
  if (written.includes("*")) return wildcardFlaw(text, hint);
  if (written.startsWith(".")) {
    const rest = written.replace(/^\.+/, "");
    return `${shown(text)} begins with a dot${hint(`*.${rest}`) || hint(rest)}`;
  }
  const name = hostName(written);
  if (name === null) {
    return `${
      shown(text)
    } is no host name: at most 253 letters, digits, hyphens and underscores, ` +
      "in labels of at most 63 with dots between; write a name such as example.com";
  }
  if (endsInNumber(name)) {
    return `${shown(text)} is neither a name nor an IPv4 address; ` +
      "write four numbers from 0 to 255 without leading zeros";
  }
  if (!wildcard && !written.includes(".")) {
    const meant = otherMeaning(name, hint);
    if (meant !== null) return meant;
  }
  return { kind: "domain", name, wildcard };
}

/** The canonical text of a target, without brackets. */
export function formatTarget(target: RuleTarget): string {
  switch (target.kind) {
    case "prefix":
      return formatPrefix(target.address, target.bits);
    case "class":
      return target.name;
    case "domain": {
      const { name, wildcard } = target;
      if (wildcard) return `*.${name}`;
      const isMistakable = !name.includes(".") &&
        (CLASSES.some((each) => each === name) || otherMeaning(name, () => "") !== null);
      return isMistakable ? `${name}.` : name;
    }
  }
}

const ONE_LENGTH = "more than one prefix length; write one, such as 10.0.0.0/8 or fd00::/8";

// ---- Addresses ----------------------------------------------------------------------------------

function formatPrefix(address: Uint8Array, bits: number): string {
  const text = formatIp(address);
  return bits === address.length * 8 ? text : `${text}/${bits}`;
}

function parsePrefix6(text: string, hint: TargetHint): RuleTarget | string {
  const [addressText = "", bitsText, ...more] = text.split("/");
  if (addressText.includes("%")) {
    return `an address of a rule has no zone${hint(text.replace(/%[^/]*/, ""))}`;
  }
  const address = parseIp6(addressText);
  if (address === null) {
    if (/[^0-9a-f:./]/i.test(text)) {
      return `${
        shown(text)
      } has two colons and is no IPv6 address; write ports behind one colon, ` +
        "such as :80,443";
    }
    return `${shown(text)} is no IPv6 address; write one such as fd00::1, a prefix such as ` +
      "fd00::/8, and with ports brackets, such as [fd00::1]:443";
  }
  if (more.length > 0) return ONE_LENGTH;
  if (bitsText !== undefined && /^[0-9]+:/.test(bitsText)) {
    const colon = bitsText.indexOf(":");
    const ports = bitsText.slice(colon + 1);
    return "with ports an IPv6 prefix stands in brackets; " +
      `write [${addressText}/${bitsText.slice(0, colon)}]:${ports === "" ? "443" : ports}`;
  }
  const target = prefixOf(address, bitsText, text, hint);
  if (typeof target === "string" || target.kind !== "prefix") return target;
  if (target.bits < 96 || !isMapped(address)) return target;
  const inner = formatPrefix(address.slice(12), target.bits - 96);
  return `an IPv4 address is written in its own form${hint(inner)}`;
}

function isMapped(address: Uint8Array): boolean {
  return address.subarray(0, 12).every((octet, i) => octet === (i < 10 ? 0 : 0xff));
}

/** `text` is the whole target. */
function prefixOf(
  address: Uint8Array,
  bitsText: string | undefined,
  text: string,
  hint: TargetHint,
): RuleTarget | string {
  const most = address.length * 8;
  if (bitsText === undefined) return { kind: "prefix", address, bits: most };
  if (!/^(0|[1-9][0-9]{0,2})$/.test(bitsText) || Number(bitsText) > most) {
    const bits = address.length === 4 ? netmaskBits(bitsText) : null;
    const better = bits === null ? "" : hint(formatPrefix(masked(address, bits), bits));
    return `the length of ${shown(text)} is not a number from 0 to ${most}${
      better || `; write one, such as ${formatIp(address)}/${most}`
    }`;
  }
  const bits = Number(bitsText);
  const base = masked(address, bits);
  if (base.some((octet, i) => octet !== address[i])) {
    return `${shown(text)} has bits set behind the prefix${hint(formatPrefix(base, bits))}`;
  }
  return { kind: "prefix", address, bits };
}

/** The address with the bits behind the prefix cleared. */
function masked(address: Uint8Array, bits: number): Uint8Array {
  return address.map((octet, i) => {
    const kept = Math.min(8, Math.max(0, bits - i * 8));
    return octet & (0xff00 >> kept);
  });
}

/** The length that a netmask says, or `null`. */
function netmaskBits(text: string): number | null {
  const mask = parseIp4(text);
  if (mask === null) return null;
  const bits = Array.from(mask, (octet) => octet.toString(2).padStart(8, "0")).join("");
  return /^1*0*$/.test(bits) ? bits.lastIndexOf("1") + 1 : null;
}

/** `10/8`, `10.1/16`: some tools fill up with zeros. */
function shortPrefixFlaw(text: string, hint: TargetHint): string {
  const [head = "", bits = ""] = text.split("/");
  const numbers = head.split(".");
  const full = [...numbers, "0", "0", "0"].slice(0, 4).join(".");
  const better = numbers.length < 4 && parseIp4(full) !== null ? hint(`${full}/${bits}`) : "";
  return `${shown(text)} is no IPv4 prefix${better || "; write one such as 10.0.0.0/8"}`;
}

// ---- Names --------------------------------------------------------------------------------------

function wildcardFlaw(text: string, hint: TargetHint): string {
  const tail = text.slice(text.lastIndexOf("*") + 1).replace(/^\.+/, "");
  const better = tail === "" ? "" : hint(`*.${tail}`);
  return "a * stands in front of a whole name, as in *.example.com, and nowhere else" + better;
}

// deno-lint-ignore no-control-regex
const ASCII = /^[\x00-\x7f]*$/;
/** What `URL` would read as something else than a part of the name. */
// deno-lint-ignore no-control-regex
const NOT_IN_NAMES = /[\x00-\x2c\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]/;

/** The name in A-labels, or `null` where it is none. */
function hostName(text: string): string | null {
  let name = text;
  if (!ASCII.test(text)) {
    if (NOT_IN_NAMES.test(text)) return null;
    const url = URL.parse(`http://${text}`);
    if (url === null) return null;
    name = url.hostname;
  }
  const normal = normalizeName(name);
  if (normal === null) return null;
  return normal.split(".").some((label) => /^-|-$/.test(label)) ? null : normal;
}

function endsInNumber(name: string): boolean {
  return /(^|\.)([0-9]+|0x[0-9a-f]*)$/.test(name);
}

/** What else a single label may have been meant to say; `null` where it can only be a name. */
function otherMeaning(label: string, hint: TargetHint): string | null {
  const asName = `(as a name it is "${label}.")`;
  if (label === "link-local") {
    return `link-local addresses are 169.254.0.0/16 and fe80::/10 ${asName}`;
  }
  if (ADDRESS_CLASS_NAMES.includes(label) && !CLASSES.some((each) => each === label)) {
    return `${label} addresses are never reached, and need no rule ${asName}`;
  }
  const meant = WORDS.get(label) ?? CLASSES.find((each) => isOneEditApart(label, each));
  if (meant === undefined) return null;
  return `${label} is no class of addresses ${asName}${hint(meant)}`;
}

/** Whether a letter too many, too few, or another, or two that have changed places part them. */
function isOneEditApart(a: string, b: string): boolean {
  let front = 0;
  while (front < a.length && a[front] === b[front]) front++;
  let back = 0;
  const most = Math.min(a.length, b.length) - front;
  while (back < most && a[a.length - 1 - back] === b[b.length - 1 - back]) back++;
  const left = a.slice(front, a.length - back);
  const right = b.slice(front, b.length - back);
  if (left.length < 2 && right.length < 2) return a !== b;
  return left.length === 2 && left[0] === right[1] && left[1] === right[0] && right.length === 2;
}

function shown(text: string): string {
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}

const SHOWN_MAX = 64;
