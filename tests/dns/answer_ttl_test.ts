/** Records that may be kept no longer than somebody remembers where they lead. */
import { Buffer } from "node:buffer";
import { assertEquals, assertStrictEquals } from "@std/assert";
import packet from "dns-packet";
import { withTtlsAtMost } from "../../lib/dns/answer_ttl.ts";

// deno-lint-ignore no-explicit-any
type PacketRecord = any;

function message(ttls: readonly number[]): Uint8Array {
  return new Uint8Array(packet.encode(
    {
      type: "response",
      id: 7,
      flags: 0x180,
      questions: [{ type: "A", name: "a.test" }],
      answers: ttls.map((ttl) => ({ type: "A", name: "a.test", ttl, data: "192.0.2.1" })),
      authorities: ttls.map((ttl) => ({ type: "NS", name: "test", ttl, data: "ns.test" })),
      additionals: [{
        type: "OPT",
        name: ".",
        udpPayloadSize: 1232,
        flags: 0x8000,
        ednsVersion: 0,
      }],
    } as PacketRecord,
  ));
}

Deno.test("answer TTLs: what is too long becomes the most, all else stays", () => {
  const answer = message([0, 60, 3_600, 3_601, 0x7fff_ffff]);
  const copy = answer.slice();
  assertEquals(withTtlsAtMost(answer, 3_600), message([0, 60, 3_600, 3_600, 3_600]));
  assertEquals(answer, copy, "the answer is only read");
  const { additionals } = packet.decode(Buffer.from(withTtlsAtMost(answer, 1))) as PacketRecord;
  assertEquals(additionals[0].flags, 0x8000, "flags of EDNS are no TTL");
});

Deno.test("answer TTLs: where none is too long it is the same array", () => {
  for (const ttls of [[], [0], [3_600, 1]]) {
    const answer = message(ttls);
    assertStrictEquals(withTtlsAtMost(answer, 3_600), answer);
  }
  // One with its highest bit set counts as 0 (RFC 2181 section 8).
  const answer = message([0xffff_ffff]);
  assertStrictEquals(withTtlsAtMost(answer, 3_600), answer);
});
