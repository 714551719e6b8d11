/** Own records are read back from what they are shown as. */
import { assertEquals } from "@std/assert";
import type { OwnRecord } from "../../lib/dns/own_record.ts";
import { parseRecordSpec } from "../../lib/dns/record_spec.ts";
import { recordText } from "../../lib/dns/record_text.ts";

function texts(spec: unknown, name = "a.test"): [type: string, data: string, ttl: number][] {
  const records = parseRecordSpec(name, spec) as OwnRecord[];
  return records.map(recordText).map(({ type, data, ttlSeconds }) => [type, data, ttlSeconds]);
}

Deno.test("each type that can be configured has its text", () => {
  assertEquals(texts(["10.0.0.5", "FD00:0::5"]), [["A", "10.0.0.5", 60], ["AAAA", "fd00::5", 60]]);
  assertEquals(texts({ cname: "Web.test.", ttl: 5 }), [["CNAME", "web.test.", 5]]);
  assertEquals(texts({ ptr: "db.test" }, "5.0.0.10.in-addr.arpa"), [["PTR", "db.test.", 60]]);
  assertEquals(texts({ srv: ["10 5 65535 sip.test", "0 0 0 ."] }), [
    ["SRV", "10 5 65535 sip.test.", 60],
    ["SRV", "0 0 0 .", 60],
  ]);
});

Deno.test("texts are in quotes, and nothing in them reaches a terminal as it is", () => {
  assertEquals(texts({ txt: ["", 'say "\\"', "a\x1b[31mä"] }).map(([, data]) => data), [
    '""',
    '"say \\"\\\\\\""',
    '"a\\027[31m\\195\\164"',
  ]);
  const [[, long] = []] = texts({ txt: "x".repeat(300) });
  assertEquals(long, `"${"x".repeat(255)}" "${"x".repeat(45)}"`);
});

Deno.test("data of another type is written in hexadecimal", () => {
  const record = { type: 257, ttlSeconds: 1, data: Uint8Array.of(0, 255, 16) };
  assertEquals(recordText(record), { type: "TYPE257", data: "\\# 3 00ff10", ttlSeconds: 1 });
});
