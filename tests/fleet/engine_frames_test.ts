/** Lines and messages of a server that are too long, however they are cut. */
import { assertEquals } from "@std/assert";
import { EngineFrames, LINE_MAX_BYTES, MESSAGE_MAX_BYTES } from "../../lib/fleet/engine_frames.ts";

/** The octets that are taken, in pieces of a length. */
function taken(text: string, piece: number): number {
  const octets = new TextEncoder().encode(text);
  const frames = new EngineFrames();
  for (let at = 0; at < octets.length; at += piece) {
    if (!frames.takes(octets.subarray(at, at + piece))) return at;
  }
  return octets.length;
}

const long = "a".repeat(LINE_MAX_BYTES);
const fits = `MSG a.b 1 ${2 * LINE_MAX_BYTES}\r\n${long}${long}\r\n`;

Deno.test("what is as long as it may be is taken", () => {
  const line = `INFO {${"a".repeat(LINE_MAX_BYTES - 9)}}\r\n`;
  const said =
    `${line}PING\r\n+OK\r\n${fits}HMSG a 1 r 12 14\r\n\n\n\n\n\n\n\n\n\n\n\n\nab\r\nPONG\r\n`;
  for (const piece of [1, 7, 65_536, said.length]) assertEquals(taken(said, piece), said.length);
  assertEquals(
    taken(`MSG a 1 ${MESSAGE_MAX_BYTES}\r\n`, 3),
    `MSG a 1 ${MESSAGE_MAX_BYTES}\r\n`.length,
  );
});

Deno.test("what is longer is not", () => {
  for (const start of ["INFO {", "-ERR '", "MSG ", "x"]) {
    for (const piece of [1_000, 65_536]) {
      const at = taken(`PING\r\n${start}${long}${long}`, piece);
      assertEquals(at > LINE_MAX_BYTES - 2 * piece && at <= LINE_MAX_BYTES + piece, true, start);
    }
  }
  const whole = `${fits}msg a 1 r ${MESSAGE_MAX_BYTES + 1}\r\n`;
  for (const piece of [1, 100]) {
    const at = taken(whole, piece);
    assertEquals(at > fits.length - piece && at < whole.length, true);
  }
});
