/** A program that prints what a flow holds, in bytes, while its inspector waits for more of it. */
import { Inspector } from "../../lib/inspect/inspector.ts";
import { ascii } from "./hellos.ts";

const FLOWS = 2_000;
const collect = (globalThis as unknown as { gc(): void }).gc;

function usedBytes(): number {
  collect();
  collect();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

/** What each of many inspectors holds that were shown the same octets and are not told yet. */
function heldBytes(octets: Uint8Array): number {
  const inspectors: Inspector[] = new Array(FLOWS);
  const before = usedBytes();
  for (let flow = 0; flow < FLOWS; flow++) {
    inspectors[flow] = new Inspector();
    if (inspectors[flow]!.inspect(octets).kind !== "more") throw new Error("it is told already");
  }
  const held = (usedBytes() - before) / FLOWS;
  if (inspectors.length !== FLOWS) throw new Error("held by nobody");
  return held;
}

heldBytes(Uint8Array.of(22, 3, 1));
console.log(JSON.stringify({
  shortRecordBytes: heldBytes(Uint8Array.of(22, 3, 1, 0x3f, 0xf4, 1, 0, 0x3f, 0xf0, 3)),
  shortHelloBytes: heldBytes(Uint8Array.of(22, 3, 1, 0, 5, 1, 0, 0x3f, 0, 3)),
  longLineBytes: heldBytes(
    Uint8Array.from(ascii(`GET / HTTP/1.1\r\nHost: ${"a".repeat(16_000)}\r\n`)),
  ),
}));
