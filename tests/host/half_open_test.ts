import { assert, assertEquals, assertFalse } from "@std/assert";
import { HalfOpenDestinations } from "../../lib/host/half_open.ts";
import { ip } from "../support/packets.ts";

const A = ip("192.0.2.1");
const B = ip("192.0.2.2");
const A6 = ip("2001:db8::1");

function setUp(most: number) {
  const asked: number[] = [];
  const table = new HalfOpenDestinations({ most, endForsaken: (nowMs) => asked.push(nowMs) });
  const admits = (address: Uint8Array, port: number) =>
    table.admits(address, 0, address.length, port, 9);
  return { table, asked, admits };
}

Deno.test("one destination has so many places, and the others have theirs", () => {
  const { table, asked } = setUp(2);
  assert(table.enter("a", A, 80, 1));
  assert(table.enter("a", A, 80, 2));
  assertFalse(table.enter("a", A, 80, 3));
  assertEquals(asked, [3], "whoever nobody answers goes first");
  assert(table.enter("b", B, 80, 4));
  table.leave("a");
  assert(table.enter("a", A, 80, 5));
});

Deno.test("the destination that was full last is known by the guest's name for it", () => {
  const { table, admits } = setUp(1);
  assert(admits(A, 80));
  assert(table.enter("a", A, 80, 1));
  assert(admits(A, 80), "it was not full yet");
  assertFalse(table.enter("a", A, 80, 1));
  assertFalse(admits(A, 80));
  assert(admits(A, 81));
  assert(admits(B, 80));
  assert(admits(A6, 80));
  table.leave("a");
  assert(admits(A, 80));
});

Deno.test("a place that a forsaken handshake gives back is there at once", () => {
  const table: HalfOpenDestinations = new HalfOpenDestinations({
    most: 1,
    endForsaken: () => table.leave("a"),
  });
  assert(table.enter("a", A, 80, 1));
  assert(table.enter("a", A, 80, 2));
});
