/** Records of the audit: what is folded, what is bounded, and what is read of them. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { denialRecordLines } from "../../lib/cli/fleet_denial_text.ts";
import {
  type AuditRecord,
  BURST,
  type DenialRecord,
  encodeAuditRecord,
  GROUPS_MAX,
  parseAuditRecord,
  PER_SECOND,
  RECORD_MAX_BYTES,
  WINDOW_MS,
} from "../../lib/fleet/audit_record.ts";
import { DENIAL, GATEWAY, recorderOf, Records } from "./audit_rig.ts";

const DAY_MS = 1_700_000_000_000;

function denialsIn(records: readonly AuditRecord[]): number {
  return records.reduce((sum, each) => sum + (each.kind === "denial" ? each.count : 0), 0);
}

Deno.test("denials of a kind are one record, with their number and both times", () => {
  const recorder = recorderOf("a1");
  for (let at = 0; at < 100; at++) recorder.deny(at * 10, "vm1", DAY_MS + at * 10, DENIAL);
  recorder.deny(500, "vm2", DAY_MS + 500, DENIAL);
  recorder.deny(600, "vm1", DAY_MS + 600, { ...DENIAL, destination: "192.0.2.8:443" });
  recorder.deny(700, "vm1", DAY_MS + 700, { ...DENIAL, rule: "pypi.example" });

  assertEquals(recorder.dueMs(), WINDOW_MS);
  assertEquals(recorder.take(WINDOW_MS - 1, 100), []);
  assertEquals(recorder.take(WINDOW_MS, 100), [{
    v: 1,
    id: `${GATEWAY}-a1-1`,
    gateway: GATEWAY,
    guest: "vm1",
    timeMs: DAY_MS,
    kind: "denial",
    lastMs: DAY_MS + 990,
    count: 100,
    denial: DENIAL,
  }]);
  assertEquals(recorder.take(Infinity, 2).length, 2);
  assertEquals(recorder.take(Infinity, 2).map(({ id }) => id), [`${GATEWAY}-a1-4`]);
  assertEquals(recorder.open, 0);
  assertEquals(recorder.dueMs(), null);
});

Deno.test("a name of a hyphen and no name are two kinds", () => {
  const recorder = recorderOf("a1");
  recorder.deny(0, "vm1", DAY_MS, { ...DENIAL, name: "-" });
  recorder.deny(0, "vm1", DAY_MS, { ...DENIAL, name: null });
  assertEquals(recorder.take(Infinity, 9).length, 2);
});

Deno.test("a flood of ever other destinations is counted whole, in few records", () => {
  const recorder = recorderOf("a1");
  const records: AuditRecord[] = [];
  const seconds = 60;
  const perSecond = 20_000;
  for (let at = 0; at < seconds * perSecond; at++) {
    const nowMs = at * 1_000 / perSecond;
    recorder.deny(nowMs, "flood", DAY_MS + Math.floor(nowMs), { ...DENIAL, destination: `${at}` });
    if (at % perSecond === 0) {
      recorder.deny(nowMs, "calm", DAY_MS, { ...DENIAL, destination: `calm ${at}` });
    }
    assert(recorder.open <= GROUPS_MAX + 2);
    if (at % 5_000 === 0) records.push(...recorder.take(nowMs, 256));
  }
  records.push(...recorder.take(Infinity, Infinity));
  assertEquals(denialsIn(records), seconds * perSecond + seconds);
  assert(records.length <= BURST + PER_SECOND * seconds + seconds / 10 + 1 + seconds);
  const calm = records.filter(({ guest }) => guest === "calm");
  assertEquals(calm.length, seconds);
  assert(calm.every((each) => each.kind === "denial" && each.denial !== null));
});

Deno.test("guests that flood together open no more than there is room for", () => {
  const recorder = recorderOf("a1");
  for (let guest = 0; guest < 8; guest++) {
    for (let at = 0; at < 2_000; at++) {
      recorder.deny(0, `vm${guest}`, DAY_MS, { ...DENIAL, destination: `${at}` });
    }
  }
  assert(recorder.open >= GROUPS_MAX && recorder.open <= GROUPS_MAX + 8);
  assertEquals(denialsIn(recorder.take(Infinity, Infinity)), 16_000);
});

Deno.test("events of a guest that comes and goes without end are counted as lost", () => {
  const recorder = recorderOf("a1");
  let told = 0;
  for (let at = 0; at < 5_000; at++) {
    const event = { guest: "vm1", timeMs: DAY_MS, event: "guest-left" } as const;
    if (recorder.happen(0, event, { reason: "end" }) !== null) told++;
  }
  assertEquals(told, BURST);
  const of = { guest: null, timeMs: DAY_MS, event: "gateway-stopped" } as const;
  assertEquals(recorder.happen(0, of)?.event, "gateway-stopped");
  recorder.lose(1, "vm1", DAY_MS, 7);
  recorder.lose(1, "vm2", DAY_MS, 3);
  const lost = recorder.take(Infinity, 9).map((
    each,
  ) => [each.guest, "count" in each && each.count]);
  assertEquals(lost, [["vm1", 5_000 - BURST + 7], ["vm2", 3]]);
});

const text = fc.string({ unit: "binary", maxLength: 2_000 });

Deno.test("whatever texts come from a guest, a record is one line of bounded length", () => {
  fc.assert(fc.property(text, text, text, text, text, (name, destination, rule, detail, hint) => {
    const recorder = recorderOf("a1");
    const denial = { ...DENIAL, name, destination, rule, detail, hint };
    recorder.deny(0, "vm1", DAY_MS, denial);
    const [record] = recorder.take(Infinity, 9);
    const line = encodeAuditRecord(record!);
    assert(line.length <= RECORD_MAX_BYTES);
    assertEquals(line.indexOf(10), line.length - 1);
    const read = parseAuditRecord(line);
    assert(read !== null && read.id === record!.id);
    if (JSON.stringify(record).length < 1_000) assertEquals(read, record!);
  }));
});

Deno.test("records are read with what is unknown in them, and not where the known is wrong", () => {
  const records = new Records("a1");
  const read = (value: unknown) => {
    return parseAuditRecord(new TextEncoder().encode(JSON.stringify(value)));
  };
  for (const record of [records.denial(), records.life(), { ...records.denial(), denial: null }]) {
    assertEquals(read(record), record);
    assertEquals(read({ ...record, later: { x: 1 } }), record);
    for (
      const wrong of [
        { v: 2 },
        { id: "a b" },
        { id: "" },
        { id: "x\r\ny" },
        { gateway: 1 },
        { guest: 7 },
        { timeMs: -1 },
        { timeMs: 0.5 },
        { timeMs: 8.64e15 + 1 },
        { kind: "other" },
      ]
    ) assertEquals(read({ ...record, ...wrong }), null, JSON.stringify(wrong));
  }
  for (
    const wrong of [
      { count: "1" },
      { lastMs: null },
      { lastMs: Number.MAX_SAFE_INTEGER },
      { denial: 3 },
      { guest: null },
    ]
  ) assertEquals(read({ ...records.denial(), ...wrong }), null, JSON.stringify(wrong));
  // Whoever shows a record makes a date of it.
  const last = read({ ...records.denial(), lastMs: 8.64e15 });
  assertStringIncludes(denialRecordLines(last as DenialRecord)[0]!, "+275760-09-13 00:00:00Z");
  for (const wrong of [{ protocol: "gre" }, { name: 1 }, { hint: undefined }, { detail: [] }]) {
    assertEquals(read({ ...records.denial(), denial: { ...DENIAL, ...wrong } }), null);
  }
  assertEquals(read(null), null);
  assertEquals(read([]), null);
  assertEquals(parseAuditRecord(new Uint8Array([0xff, 10])), null);
  assertEquals(parseAuditRecord(new Uint8Array(RECORD_MAX_BYTES + 1)), null);
});
