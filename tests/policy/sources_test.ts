/** Which clients a published port lets in. */
import { assertEquals, assertThrows } from "@std/assert";
import { Sources } from "../../lib/policy/sources.ts";
import { bytesOf } from "./rules.ts";

const OWN = "192.168.1.5";

/** The clients of a list that are let in. */
function letIn(texts: readonly string[], clients: readonly string[]): string[] {
  const isHost = (address: Uint8Array) => address.join(".") === OWN;
  const sources = new Sources(texts, isHost);
  return clients.filter((client) => sources.refusal(bytesOf(client), 80) === null);
}

const CLIENTS = [
  "127.0.0.1",
  "::1",
  "10.1.2.3",
  "::ffff:10.1.2.3",
  "172.16.0.1",
  OWN,
  "100.64.0.1",
  "fd00::1",
  "fe80::1",
  "169.254.169.254",
  "8.8.8.8",
  "::ffff:8.8.8.8",
  "2606:4700::1111",
  "64:ff9b::10.1.2.3",
  "2002:a01:203::1",
];

const CASES: readonly [texts: string[], letIn: string[]][] = [
  [[], []],
  [["0.0.0.0/0", "::/0"], CLIENTS],
  [["private"], [
    "10.1.2.3",
    "::ffff:10.1.2.3",
    "172.16.0.1",
    OWN,
    "100.64.0.1",
    "fd00::1",
    "64:ff9b::10.1.2.3",
    "2002:a01:203::1",
  ]],
  [["loopback"], ["127.0.0.1", "::1"]],
  [["public"], ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111"]],
  [["host"], [OWN]],
  [["metadata"], ["169.254.169.254"]],
  [["10.0.0.0/8"], ["10.1.2.3", "::ffff:10.1.2.3"]],
  [["10.1.2.3", "::1", "8.8.8.0/24"], [
    "::1",
    "10.1.2.3",
    "::ffff:10.1.2.3",
    "8.8.8.8",
    "::ffff:8.8.8.8",
  ]],
  [["fe80::/10"], ["fe80::1"]],
];

for (const [texts, expected] of CASES) {
  Deno.test(`sources: [${texts}] lets in ${expected.length} of ${CLIENTS.length}`, () => {
    assertEquals(letIn(texts, CLIENTS), expected);
  });
}

Deno.test("sources: who is not let in is told with what would let him in", () => {
  const sources = new Sources(["10.0.0.0/8"], () => false);
  const refusal = sources.refusal(bytesOf("::ffff:11.1.2.3"), 8080)!;
  assertEquals(refusal, {
    protocol: "tcp",
    name: null,
    destination: "published port 8080",
    rule: "allowFrom",
    origin: "",
    reason: "source",
    detail: "a client from 11.1.2.3 is not let in",
    hint: 'publish: [{ guest: 8080, allowFrom: ["11.1.2.3"] }]',
  });
  const [, text = ""] = /allowFrom: \["(.*)"\]/.exec(refusal.hint!)!;
  assertEquals(letIn([text], ["11.1.2.3", "::ffff:11.1.2.3", "11.1.2.4"]), [
    "11.1.2.3",
    "::ffff:11.1.2.3",
  ]);
});

Deno.test("sources: what is none is a bug of whoever has not checked it", () => {
  for (const text of ["pypi.org", "10.0.0.0/8:80", "10.0.0.1/8", ""]) {
    assertThrows(() => new Sources([text], () => false), RangeError, "Cannot let clients in");
  }
});
