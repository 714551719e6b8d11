import { assertEquals } from "@std/assert";
import { hasHopOptionsOnly, OPT_BYTES, putOpt } from "../../lib/dns/edns.ts";
import { ask, decode, vector } from "./vectors.ts";

Deno.test("putOpt() writes what dns-packet reads", () => {
  const message = new Uint8Array([...ask("a.example"), ...new Uint8Array(OPT_BYTES)]);
  message[11] = 1;
  putOpt(message, message.length - OPT_BYTES, { dnssecOk: true, rcode: 16, udpBytes: 4_000 });
  const [opt] = decode(message).additionals;
  assertEquals([opt.type, opt.name, opt.udpPayloadSize], ["OPT", ".", 4_000]);
  assertEquals([opt.extendedRcode, opt.ednsVersion, opt.flag_do], [1, 0, true]);
});

Deno.test("hasHopOptionsOnly() knows the options that no answer depends on", () => {
  const withOptions = (...octets: number[]) => {
    const message = ask("a.example", { udpBytes: 1232 });
    message[message.length - 1] = octets.length;
    return Uint8Array.from([...message, ...octets]);
  };
  const table: [Uint8Array, boolean][] = [
    [ask("a.example"), true],
    [ask("a.example", { udpBytes: 1232 }), true],
    [withOptions(0, 12, 0, 2, 0, 0), true],
    [withOptions(0, 10, 0, 1, 9, 0, 12, 0, 0), true],
    [withOptions(0, 8, 0, 1, 9), false],
    [withOptions(0, 12, 0, 0, 0, 8, 0, 0), false],
    [withOptions(0, 12, 0), false],
    [withOptions(0, 12, 0, 1), false],
    [vector("arcount_lie"), false],
  ];
  table.forEach(([message, isHop], i) => assertEquals(hasHopOptionsOnly(message), isHop, `${i}`));
});
