/**
 * Own names of a configuration: each with addresses or with records by type, see
 * `dns/record_spec.ts`.
 *
 * @module
 */
import { normalizeOwner } from "../dns/name.ts";
import { parseRecordSpec, type RecordSpec } from "../dns/record_spec.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import type { ConfigProblem } from "./errors.ts";
import { isMappingKey } from "./nearest.ts";
import { type Fail, isMapping, items, type Raw, type Reader, show } from "./readers.ts";

/** Most own names. */
export const RECORDS_MAX = 4_096;

/** A reader of own names: a mapping of name to records, or items of `NAME=ADDRESS`. */
export const readRecords: Reader<Record<string, RecordSpec>> = (raw, fail) => {
  const records = new Map<string, RecordSpec>();
  for (const { name, spec, under } of isMapping(raw) ? mapped(raw, fail) : listed(raw, fail)) {
    const owner = normalizeOwner(name);
    const fault = recordFault(name, spec);
    const before = owner === null ? undefined : records.get(owner);
    if (fault !== null) fail(fault.text, fault.field === "" ? under : `${under}.${fault.field}`);
    else if (before === undefined) records.set(owner!, spec);
    else fail(`"${owner}" is there twice`, under);
  }
  if (records.size > RECORDS_MAX) fail(`${records.size} names, at most ${RECORDS_MAX}`);
  return Object.fromEntries(records);
};

/**
 * What is wrong with the own names of a program.
 *
 * @param records What the program handed over.
 * @returns The problems.
 */
export function checkRecords(records: Readonly<Record<string, unknown>>): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const names = Object.entries(records);
  for (const [name, spec] of names) {
    const fault = recordFault(name, spec);
    if (fault === null) continue;
    const key = `dns.records.${name}${fault.field === "" ? "" : `.${fault.field}`}`;
    problems.push({ key, text: fault.text });
  }
  if (names.length > RECORDS_MAX) {
    problems.push({ key: "dns.records", text: `${names.length} names, at most ${RECORDS_MAX}` });
  }
  return problems;
}

/**
 * What is wrong with one name.
 *
 * @param name The name.
 * @param spec Its records, or what stands in their place.
 * @returns The fault, and the field of the records where it is in one; `null` for none.
 */
export function recordFault(
  name: string,
  spec: unknown,
): { field: string; text: string } | null {
  const parsed = parseRecordSpec(name, spec);
  if (typeof parsed !== "string") return null;
  const [, field = "", text = parsed] = /^([a-z]+): ([^]*)$/.exec(parsed) ?? [];
  return { field, text };
}

interface NamedRecords {
  readonly name: string;
  readonly spec: RecordSpec;
  /** Path of the name below the setting. */
  readonly under: string;
}

function* mapped(raw: { readonly [key: string]: Raw }, fail: Fail): Generator<NamedRecords> {
  for (const [name, value] of Object.entries(raw)) {
    const under = `.${name}`;
    const keys = [name, ...isMapping(value) ? Object.keys(value) : []];
    if (keys.some(isMappingKey)) {
      fail("a mapping is no key: keys are plain names");
    } else if (value === null || value === "") {
      fail("has no value; write [] for a name that has no records", under);
    } else {
      const spec = isMapping(value) ? fieldsOf(value) : addressesOf(value, under, fail);
      if (spec !== null) yield { name, spec, under };
    }
  }
}

/** Fields with their seconds as a number, as far as they are one. */
function fieldsOf(value: { readonly [key: string]: Raw }): RecordSpec {
  const { ttl } = value;
  const isNumber = typeof ttl === "string" && /^[0-9]{1,9}$/.test(ttl);
  return { ...value, ...(isNumber ? { ttl: Number(ttl) } : {}) } as RecordSpec;
}

/** Addresses in canonical form, or `null` after a failure. */
function addressesOf(value: Raw, under: string, fail: Fail): string[] | null {
  let isRight = true;
  const list = items(value).map((item, i) => {
    const address = typeof item === "string" ? parseIp(item) : null;
    if (address !== null) return formatIp(address);
    isRight = false;
    fail(`${show(item)} is not an address`, Array.isArray(value) ? `${under}[${i}]` : under);
    return "";
  });
  return isRight ? list : null;
}

function listed(raw: Raw, fail: Fail): NamedRecords[] {
  const byName = new Map<string, { spec: string[]; under: string }>();
  items(raw).forEach((item, i) => {
    const under = `[${i}]`;
    const match = typeof item === "string" ? /^([^=]*)=(.*)$/.exec(item) : null;
    if (match === null) return fail(`${show(item)} is not NAME=ADDRESS`, under);
    const name = normalizeOwner(match[1]!) ?? match[1]!;
    const address = parseIp(match[2]!);
    if (address === null) return fail(`"${match[2]}" is not an address`, under);
    const entry = byName.get(name) ?? { spec: [], under };
    entry.spec.push(formatIp(address));
    byName.set(name, entry);
  });
  return [...byName].map(([name, { spec, under }]) => ({ name, spec, under }));
}
