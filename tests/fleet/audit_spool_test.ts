/**
 * The audit's spool: against a model with kills at any octet, beyond its bounds, and on a disk that
 * takes nothing.
 */
import { assert, assertEquals } from "@std/assert";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import { DirFiles, type SpoolFiles } from "../../lib/fleet/audit_files.ts";
import type { SpoolRecord } from "../../lib/fleet/audit_queue.ts";
import { type AuditRecord, encodeAuditRecord } from "../../lib/fleet/audit_record.ts";
import { SEGMENT_BYTES } from "../../lib/fleet/audit_segment.ts";
import {
  AuditSpool,
  BATCH_BYTES,
  MEMORY_BYTES,
  SPOOL_MIN_BYTES,
  WRITE_MS,
} from "../../lib/fleet/audit_spool.ts";
import { Dice } from "../support/dice.ts";
import { VirtualClock } from "../support/virtual_clock.ts";
import { MemoryFiles, MortalFiles, Records } from "./audit_rig.ts";

interface OpenOptions {
  readonly records: Records;
  readonly clock?: VirtualClock;
  readonly maxBytes?: number;
  readonly logger?: GatewayLogger;
}

function open(files: SpoolFiles, options: OpenOptions): Promise<AuditSpool> {
  const { records, clock = new VirtualClock(), maxBytes = 0, logger = silentLogger } = options;
  return AuditSpool.open({ files, maxBytes, clock, logger, shedRecord: records.shed });
}

function recordOf({ octets }: SpoolRecord): AuditRecord {
  return JSON.parse(new TextDecoder().decode(octets));
}

/** All that is left, acknowledged. */
async function drain(spool: AuditSpool): Promise<AuditRecord[]> {
  const records: AuditRecord[] = [];
  for (let next = await spool.next(64); next.length > 0; next = await spool.next(64)) {
    for (const record of next) {
      records.push(recordOf(record));
      spool.done(record);
    }
  }
  return records;
}

/** The identities that stand in a directory's segments, read without the code under test. */
async function idsOnDisk(dir: string): Promise<Set<string>> {
  const ids = new Set<string>();
  for await (const { name } of Deno.readDir(dir)) {
    if (!name.endsWith(".jsonl")) continue;
    const text = await Deno.readTextFile(`${dir}/${name}`);
    for (const line of text.split("\n").slice(0, -1)) {
      try {
        ids.add(JSON.parse(line).id);
      } catch {
        // The rest of a line that a kill has torn.
      }
    }
  }
  return ids;
}

/** Cuts a file of the directory somewhere, as if the rest had never been written. */
async function tear(dir: string, dice: Dice): Promise<void> {
  const names = (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name);
  if (names.length === 0) return;
  const path = `${dir}/${dice.pick(names.sort())}`;
  const { size } = await Deno.stat(path);
  await Deno.truncate(path, dice.below(size + 1));
}

async function withDir(test: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await test(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("no record is lost but those that were not written or torn, in whatever order things happen", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    await withDir((dir) =>
      play(`${dir}/audit`, new Dice(seed)).catch((error) => {
        throw new Error(`seed ${seed}: ${error.message}`, { cause: error });
      })
    );
  }
});

/** A spool's life, with ends of all kinds in it. */
async function play(dir: string, dice: Dice): Promise<void> {
  const records = new Records("x");
  const done = new Set<string>();
  let files = new MortalFiles(new DirFiles(dir));
  let spool = await open(files, { records });
  /** Appended and not done, in this life or found at its beginning. */
  let waiting = new Set<string>();
  /** Those of them that are written for certain. */
  let safe = new Set<string>();
  let held: SpoolRecord[] = [];
  for (let step = 0; step < 120; step++) {
    const kind = dice.below(100);
    if (kind < 40) {
      const size = dice.pick([10, 300, 500]);
      for (let count = dice.between(1, 60); count > 0; count--) {
        const record = dice.chance(0.1) ? records.life() : records.denial(2, "d".repeat(size));
        spool.append(record);
        waiting.add(record.id);
      }
    } else if (kind < 60) {
      const next = await spool.next(dice.between(1, 64));
      for (const { id } of next) {
        assert(waiting.has(id), `${id} is not among those that wait`);
        assert(!held.some((each) => each.id === id), `${id} twice`);
      }
      if (waiting.size > 0 && held.length === 0) assert(next.length > 0, "nothing is handed out");
      held.push(...next);
    } else if (kind < 80) {
      const kept: SpoolRecord[] = [];
      for (const record of held) {
        if (dice.chance(0.2)) kept.push(record);
        else {
          spool.done(record);
          done.add(record.id);
          waiting.delete(record.id);
        }
      }
      held = kept;
    } else if (kind < 86) {
      spool.back();
      held = [];
    } else if (kind < 94) {
      safe = new Set(waiting);
      await spool.write();
    } else {
      const isKilled = dice.chance(0.7);
      if (isKilled) await files.kill();
      else await spool.close();
      const isTorn = isKilled && dice.chance(0.7);
      if (isTorn) await tear(dir, dice);
      const found = await idsOnDisk(dir);
      for (const id of isTorn ? [] : isKilled ? safe : waiting) {
        assert(found.has(id) || done.has(id), `${id} is lost`);
      }
      safe.clear();
      files = new MortalFiles(new DirFiles(dir));
      spool = await open(files, { records });
      held = [];
      // What was done may come again, what was not must; what a tear has hit is gone.
      const must = [...found].filter((id) => !done.has(id));
      waiting = found;
      const left = await drain(spool);
      const handed = new Set(left.map(({ id }) => id));
      assertEquals(handed.size, left.length);
      for (const id of must) assert(handed.has(id), `${id} was on disk and is not handed out`);
      for (const id of handed) assert(found.has(id), `${id} comes from nowhere`);
      if (!isKilled) {
        const again = [...handed].filter((id) => done.has(id)).length;
        assert(again <= 256, `${again} are sent again after an end in order`);
      }
      for (const id of handed) done.add(id);
      waiting = new Set();
    }
    assertEquals(spool.waiting, waiting.size);
  }
  assertEquals(spool.shed, 0);
  const left = await drain(spool);
  spool.back();
  left.push(...await drain(spool));
  assertEquals(new Set(left.map(({ id }) => id)), waiting);
  assertEquals([spool.waiting, spool.waitingBytes, spool.oldestMs], [0, 0, null]);
  await spool.close();
  assertEquals((await idsOnDisk(dir)).size, 0);
}

Deno.test("what is acknowledged within a second never meets the disk", async () => {
  const files = new MemoryFiles();
  const clock = new VirtualClock();
  const records = new Records("x");
  const spool = await open(files, { records, clock });
  for (let at = 0; at < 50; at++) {
    spool.append(records.denial());
    assertEquals((await drain(spool)).length, 1);
    await clock.run(WRITE_MS / 3);
  }
  assertEquals([files.writes, files.segments.size], [0, 0]);
  await spool.close();
  assertEquals(clock.timers, 0);
});

Deno.test("a flood is written once a second, or when a batch is full", async () => {
  const files = new MemoryFiles();
  const clock = new VirtualClock();
  const records = new Records("x");
  const spool = await open(files, { records, clock });
  let bytes = 0;
  for (let at = 0; at < 1_000; at++) {
    const record = records.denial();
    bytes += encodeAuditRecord(record).length;
    spool.append(record);
    await clock.run(10);
  }
  await clock.run(WRITE_MS);
  assert(files.writes <= 11 + bytes / BATCH_BYTES, `${files.writes} writes`);
  assert(files.writes >= 10);
  assertEquals(spool.waitingBytes, bytes);
  assertEquals(spool.oldestMs, 1_001);
  await spool.close();
});

Deno.test("beyond its bound the oldest denials go, events stay, and what is missing is said", async () => {
  const files = new MemoryFiles();
  const records = new Records("x");
  const spool = await open(files, { records });
  const denials: string[] = [];
  const life: string[] = [];
  let held: SpoolRecord[] = [];
  for (let at = 0; at < 40_000; at++) {
    const record = at % 100 === 0 ? records.life() : records.denial(3);
    (record.kind === "life" ? life : denials).push(record.id);
    spool.append(record);
    // The first ones are on their way when the flood comes: whether they arrive nobody knows.
    if (at === 63) held = await spool.next(64);
    if (at % 50 === 0) await spool.write();
    if (at % 1_000 === 0) {
      const onDisk = [...files.segments.values()].reduce((sum, file) => sum + file.length, 0);
      assert(onDisk <= SPOOL_MIN_BYTES + SEGMENT_BYTES, `${onDisk} octets`);
    }
  }
  await spool.write();
  assert(spool.shed > 10_000);
  assertEquals(held.length, 64);
  spool.back();
  const left = await drain(spool);
  await spool.write();
  left.push(...await drain(spool));

  const ids = new Set(left.map(({ id }) => id));
  assertEquals(ids.size, left.length);
  assertEquals(left.slice(0, 64).map(({ id }) => id), held.map(({ id }) => id));
  for (const id of life) assert(ids.has(id), `the event ${id} is lost`);
  const missing = denials.filter((id) => !ids.has(id));
  assertEquals(spool.shed, missing.length);
  const said = left.flatMap((each) => each.kind === "life" && each.event === "shed" ? [each] : []);
  assertEquals(said.reduce((sum, { count = 0 }) => sum + count, 0), missing.length);
  assertEquals(said.reduce((sum, each) => sum + (each.denials ?? 0), 0), 3 * missing.length);
  assert(said.length <= 10, `${said.length} records of what was shed`);
  // The last ones are there, in order.
  assertEquals(left.filter((each) => each.kind === "denial").at(-1)?.id, denials.at(-1));
  await spool.close();
  assertEquals(files.segments.size, 0);
});

Deno.test("whatever is shed between floods, deliveries, faults and ends in order is counted", async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const dice = new Dice(seed);
    const files = new MemoryFiles();
    const records = new Records("x");
    const missing = new Set<string>();
    const life = new Set<string>();
    let shed = 0;
    let spool = await open(files, { records });
    const deliver = async (max: number) => {
      const next = await spool.next(max);
      for (const record of next) {
        spool.done(record);
        missing.delete(record.id);
        life.delete(record.id);
      }
      return next.length;
    };
    for (let step = 0; step < 300; step++) {
      const kind = dice.below(10);
      if (kind < 6) {
        for (let count = dice.between(40, 120); count > 0; count--) {
          const isLife = dice.chance(0.02);
          const record = isLife ? records.life() : records.denial(1, "d".repeat(500));
          (isLife ? life : missing).add(record.id);
          spool.append(record);
        }
        await spool.write();
      } else if (kind < 8) {
        for (let rounds = dice.below(3); rounds > 0; rounds--) await deliver(64);
      } else if (kind === 8) {
        files.fault = files.fault === null ? new Error("Input/output error (os error 5)") : null;
        await spool.write();
      } else if (files.fault === null) {
        await spool.close();
        shed += spool.shed;
        spool = await open(files, { records });
        assertEquals(spool.shed, 0);
      }
    }
    files.fault = null;
    await spool.write();
    while (await deliver(64) > 0);
    assertEquals(life.size, 0, `seed ${seed}`);
    assertEquals(missing.size, shed + spool.shed, `seed ${seed}`);
    assert(missing.size > 0, `seed ${seed} sheds nothing`);
    await spool.close();
  }
});

Deno.test("events alone are bounded too", async () => {
  const files = new MemoryFiles();
  const records = new Records("x");
  const spool = await open(files, { records });
  const count = 40_000;
  for (let at = 0; at < count; at++) {
    spool.append(records.life());
    if (at % 200 === 0) await spool.write();
  }
  await spool.write();
  assert(spool.waitingBytes <= SPOOL_MIN_BYTES + SEGMENT_BYTES);
  const left = await drain(spool);
  await spool.write();
  left.push(...await drain(spool));
  const events = left.filter((each) => each.kind === "life" && each.event !== "shed");
  assertEquals(events.length + spool.shed, count);
  await spool.close();
});

Deno.test("a disk that takes nothing is said once, memory is bounded, and all goes on when it is back", async () => {
  const files = new MemoryFiles();
  const clock = new VirtualClock();
  const records = new Records("x");
  const lines: string[] = [];
  const logger = {
    ...silentLogger,
    info: (message: string) => void lines.push(message),
    warn: (message: string) => void lines.push(message),
  };
  files.fault = new Error("No space left on device (os error 28)");
  const spool = await open(files, { records, clock, logger });
  const denials: string[] = [];
  for (let at = 0; at < 10_000; at++) {
    const record = records.denial();
    denials.push(record.id);
    spool.append(record);
    if (at % 100 === 0) await clock.run(WRITE_MS);
    assert(spool.waitingBytes <= 2 * MEMORY_BYTES);
  }
  const last = records.life();
  spool.append(last);
  assert(spool.shed > 1_000);
  assertEquals(spool.trouble, "No space left on device (os error 28)");
  assertEquals(lines, ["the audit cannot be kept on disk"]);
  assertEquals(files.segments.size, 0);

  files.fault = null;
  // What an earlier start has left is found then.
  files.segments.set(7, encodeAuditRecord(new Records("old").denial()));
  await clock.run(2 * WRITE_MS);
  assertEquals([spool.trouble, lines.length], [null, 2]);
  assert(files.segments.size > 1);
  const left = await drain(spool);
  const ids = new Set(left.map(({ id }) => id));
  assertEquals(left[0]!.id, "host-7-old-1");
  assert(ids.has(last.id));
  assertEquals(denials.filter((id) => !ids.has(id)).length, spool.shed);
  const said = left.find((each) => each.kind === "life" && each.event === "shed");
  assertEquals(said?.kind === "life" && said.count, spool.shed);
  await spool.close();
  assertEquals(files.segments.size, 0);
});

Deno.test("a disk that fails while the sender is in the middle repeats nothing and loses nothing", async () => {
  const files = new MemoryFiles();
  const clock = new VirtualClock();
  const records = new Records("x");
  files.fault = new Error("Read-only file system (os error 30)");
  const spool = await open(files, { records, clock });
  const ids: string[] = [];
  for (let at = 0; at < 100; at++) {
    const record = records.denial();
    ids.push(record.id);
    spool.append(record);
  }
  const first = await spool.next(64);
  for (const record of first.slice(10)) spool.done(record);
  files.fault = null;
  files.segments.set(3, encodeAuditRecord(new Records("old").denial()));
  await clock.run(WRITE_MS);
  const rest = await spool.next(64);
  assertEquals(rest.map(({ id }) => id), ["host-7-old-1", ...ids.slice(64)]);
  spool.back();
  assertEquals((await spool.next(100)).map(({ id }) => id), [
    ...ids.slice(0, 10),
    "host-7-old-1",
    ...ids.slice(64),
  ]);
  await spool.close();
});

Deno.test("segments that somebody has taken away or spoiled are counted, and the others go on", async () => {
  const files = new MemoryFiles();
  const clock = new VirtualClock();
  const records = new Records("x");
  const first = await open(files, { records, clock });
  for (let at = 0; at < 3_000; at++) {
    first.append(records.denial());
    if (at % 100 === 0) await first.write();
  }
  await first.close();
  const spool = await open(files, { records, clock });
  assertEquals(spool.waiting, 3_000);
  const numbers = [...files.segments.keys()];
  files.segments.delete(numbers[1]!);
  files.segments.set(numbers[2]!, new Uint8Array(999_999));
  const left = await drain(spool);
  await spool.write();
  const said = await drain(spool);
  assertEquals(left.length + spool.shed, 3_000);
  assert(spool.shed > 500);
  assertEquals(said.map((each) => each.kind === "life" && each.count), [spool.shed]);
  assertEquals([spool.waiting, spool.waitingBytes], [0, 0]);
  await spool.close();
});

Deno.test("a gateway that starts again and again leaves one file", async () => {
  const files = new MemoryFiles();
  for (let start = 0; start < 50; start++) {
    const records = new Records(`s${start}`);
    const spool = await open(files, { records });
    assertEquals(spool.waiting, start);
    spool.append(records.life("gateway-started"));
    await spool.close();
  }
  assertEquals(files.segments.size, 1);
});

Deno.test("files are private, and others in the directory are left alone", async () => {
  await withDir(async (dir) => {
    const audit = `${dir}/audit`;
    const records = new Records("x");
    const spool = await open(new DirFiles(audit), { records });
    await Deno.writeTextFile(`${audit}/notes.txt`, "mine");
    await Deno.mkdir(`${audit}/000000000001.jsonl.d`);
    for (let at = 0; at < 3; at++) spool.append(records.denial());
    await spool.write();
    spool.done((await spool.next(1))[0]!);
    await spool.write();
    assertEquals((await Deno.stat(audit)).mode! & 0o777, 0o700);
    for await (const { name } of Deno.readDir(audit)) {
      const { mode } = await Deno.stat(`${audit}/${name}`);
      if (/^0.*jsonl$|json$/.test(name)) assertEquals(mode! & 0o777, 0o600, name);
    }
    await spool.close();
    const again = await open(new DirFiles(audit), { records });
    assertEquals((await drain(again)).length, 2);
    await again.close();
    const names = (await Array.fromAsync(Deno.readDir(audit))).map(({ name }) => name).sort();
    assertEquals(names, ["000000000001.jsonl.d", "acknowledged.json", "notes.txt"]);
  });
});
