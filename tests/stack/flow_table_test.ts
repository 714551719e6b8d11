import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { FlowTable } from "../../lib/stack/flow_table.ts";

const SEED = new Uint32Array([0x01234567, 0x89abcdef, 0xfedcba98, 0x76543210]);
const view = new DataView(new ArrayBuffer(64));
const GUEST_AT = 8;
const PEER_AT = 32;

interface Key {
  family: 4 | 6;
  tag: number;
  guest: number;
  peer: number;
  guestPort: number;
  peerPort: number;
}

/** Sets the key; the numbers go to the last word of each address. */
function setKey(table: FlowTable<string>, key: Key): void {
  const { family, tag, guestPort, peerPort } = key;
  for (let i = 0; i < 64; i += 4) view.setUint32(i, 0);
  const last = family === 4 ? 0 : 12;
  view.setUint32(GUEST_AT + last, key.guest);
  view.setUint32(PEER_AT + last, key.peer);
  if (family === 4) table.key4(view, tag, GUEST_AT, PEER_AT, guestPort, peerPort);
  else table.key6(view, tag, GUEST_AT, PEER_AT, guestPort, peerPort);
}

function find(table: FlowTable<string>, key: Key): string | undefined {
  setKey(table, key);
  return table.find();
}

function insert(table: FlowTable<string>, key: Key, value: string): number {
  setKey(table, key);
  return table.insert(value);
}

const KEY: Key = { family: 4, tag: 6, guest: 1, peer: 2, guestPort: 40_000, peerPort: 65_535 };

Deno.test("a flow is found by its whole key only", () => {
  for (const family of [4, 6] as const) {
    const table = new FlowTable<string>(8, SEED);
    const key = { ...KEY, family };
    assertEquals(find(table, key), undefined);
    insert(table, key, "a");
    assertEquals(find(table, key), "a");
    const others: Partial<Key>[] = [
      { tag: 17 },
      { guest: 3 },
      { peer: 3 },
      { guest: 2, peer: 1 },
      { guestPort: 40_001 },
      { peerPort: 65_534 },
      { guestPort: 65_535, peerPort: 40_000 },
      { family: family === 4 ? 6 : 4 },
    ];
    for (const other of others) {
      assertEquals(find(table, { ...key, ...other }), undefined, JSON.stringify(other));
    }
    assertEquals(find(table, key), "a");
  }
});

Deno.test("every word of an IPv6 address counts", () => {
  const table = new FlowTable<string>(64, SEED);
  const octets = new Uint8Array(view.buffer);
  const key = () => table.key6(view, 6, GUEST_AT, PEER_AT, 1, 2);
  octets.fill(0);
  key();
  table.insert("zero");
  for (let i = 0; i < 32; i++) {
    const at = i < 16 ? GUEST_AT + i : PEER_AT + i - 16;
    octets[at] = 0x80;
    key();
    assertEquals(table.find(), undefined, `octet ${i}`);
    table.insert(`octet ${i}`);
    assertEquals(table.find(), `octet ${i}`);
    octets[at] = 0;
  }
});

Deno.test("an IPv4 flow is no IPv6 flow with the same words", () => {
  const table = new FlowTable<string>(8, SEED);
  new Uint8Array(view.buffer).fill(0);
  view.setUint32(GUEST_AT, 0x0a000001);
  view.setUint32(PEER_AT, 0x0a000002);
  table.key4(view, 6, GUEST_AT, PEER_AT, 1, 2);
  table.insert("4");
  table.key6(view, 6, GUEST_AT, PEER_AT, 1, 2);
  assertEquals(table.find(), undefined);
});

Deno.test("a key is inserted once", () => {
  const table = new FlowTable<string>(8, SEED);
  insert(table, KEY, "a");
  assertThrows(() => insert(table, KEY, "b"), Error, "Cannot insert");
  assertEquals([table.size, find(table, KEY)], [1, "a"]);
});

Deno.test("a full table says so, and takes again what was freed", () => {
  const table = new FlowTable<string>(3, SEED);
  const handles = [0, 1, 2].map((guestPort) =>
    insert(table, { ...KEY, guestPort }, `${guestPort}`)
  );
  assertEquals(handles, [0, 1, 2]);
  assertEquals(insert(table, { ...KEY, guestPort: 3 }, "3"), -1);
  assertEquals([table.size, table.capacity], [3, 3]);
  table.remove(1);
  assertEquals(find(table, { ...KEY, guestPort: 1 }), undefined);
  assertEquals(insert(table, { ...KEY, guestPort: 3 }, "3"), 1);
  assertEquals([...table.values()], ["0", "3", "2"]);
  assertEquals(find(table, { ...KEY, guestPort: 1 }), undefined, "not by what was found last");
});

Deno.test("handles of others stay, and all can be removed while they are listed", () => {
  const table = new FlowTable<string>(100, SEED);
  const handles = new Map<string, number>();
  for (let i = 0; i < 100; i++) {
    handles.set(`${i}`, insert(table, { ...KEY, guestPort: i }, `${i}`));
  }
  let seen = 0;
  for (const value of table.values()) {
    seen++;
    table.remove(handles.get(value)!);
    const next = Number(value) + 1;
    if (next < 100) assertEquals(find(table, { ...KEY, guestPort: next }), `${next}`);
  }
  assertEquals([seen, table.size, [...table.values()]], [100, 0, []]);
});

Deno.test("misuse asserts", () => {
  const table = new FlowTable<string>(4, SEED);
  assertThrows(() => table.remove(0), Error, "in use");
  const handle = insert(table, KEY, "a");
  table.remove(handle);
  assertThrows(() => table.remove(handle), Error, "in use");
  assertThrows(() => table.remove(-1), Error, "in use");
  assertThrows(() => new FlowTable<string>(0, SEED));
  assertThrows(() => new FlowTable<string>(4, new Uint32Array(3)), Error, "four words");
});

Deno.test("a table of one flow works", () => {
  const table = new FlowTable<string>(1, SEED);
  insert(table, KEY, "a");
  assertEquals(find(table, KEY), "a");
  assertEquals(insert(table, { ...KEY, tag: 1 }, "b"), -1);
});

Deno.test("any order of calls finds what a Map finds", () => {
  const key: fc.Arbitrary<Key> = fc.record({
    family: fc.constantFrom(4 as const, 6 as const),
    tag: fc.constantFrom(6, 17),
    guest: fc.nat(1),
    peer: fc.constantFrom(0, 0xffff_ffff),
    guestPort: fc.constantFrom(0, 1, 255, 256, 65_535),
    peerPort: fc.constantFrom(53, 443, 65_535),
  });
  const step = fc.record({ key, remove: fc.boolean() });
  fc.assert(fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
    const table = new FlowTable<string>(16, SEED);
    const model = new Map<string, number>();
    for (const { key, remove } of steps) {
      const text = JSON.stringify(key);
      const handle = model.get(text);
      assertEquals(find(table, key), handle === undefined ? undefined : text);
      if (remove && handle !== undefined) {
        table.remove(handle);
        model.delete(text);
        assertEquals(find(table, key), undefined);
      } else if (!remove && handle === undefined) {
        const added = insert(table, key, text);
        assertEquals(added < 0, model.size === 16);
        if (added < 0) continue;
        assert(![...model.values()].includes(added), "the handle is free");
        model.set(text, added);
      }
      assertEquals(table.size, model.size);
    }
    assertEquals([...table.values()].sort(), [...model.keys()].sort());
  }));
});
