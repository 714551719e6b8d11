/** Server-sent events in whatever pieces they come. */
import { assertEquals } from "@std/assert";
import { serverSentEvents } from "../../lib/control/sse_reader.ts";

const TEXT = 'id: 1\ndata: {"a":"ü"}\n\n: alive\n\ndata: b\n\nid: 3\ndata: unfinished\n';

async function* pieces(octets: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size);
}

Deno.test("a stream that is cut anywhere has the same blocks, without the unfinished one", async () => {
  const octets = new TextEncoder().encode(TEXT);
  for (let size = 1; size <= octets.length; size++) {
    assertEquals(await Array.fromAsync(serverSentEvents(pieces(octets, size))), [
      { id: "1", data: '{"a":"ü"}' },
      { id: "", data: "" },
      { id: "", data: "b" },
    ]);
  }
});
