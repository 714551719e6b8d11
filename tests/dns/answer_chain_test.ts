import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import packet from "dns-packet";
import { answerChain, CHAIN_MAX_ADDRESSES, CHAIN_MAX_LINKS } from "../../lib/dns/answer_chain.ts";
import { nameHash } from "../../lib/dns/name.ts";
import { formatIp } from "../../lib/wire/address.ts";
import { answerTo, name, type RawRecord } from "./messages.ts";
import { ask, vector } from "./vectors.ts";

const A = 1;
const CNAME = 5;
const AAAA = 28;
const DNAME = 39;

function alias(owner: string, target: string, ttl = 60): RawRecord {
  return { owner, type: CNAME, data: name(target), ttl };
}

function address(owner: string, last: number, ttl = 60): RawRecord {
  return { owner, type: A, data: [192, 0, 2, last], ttl };
}

/** Names of the chain, then addresses with their TTLs. */
function follow(asked: string, answers: RawRecord[]): [string[], string[]] | null {
  const chain = answerChain(answerTo(ask(asked), { answers }), { name: asked });
  return chain && [
    [...chain.names],
    chain.addresses.map(({ address, ttlSeconds }) => `${formatIp(address)} ${ttlSeconds}`),
  ];
}

Deno.test("answerChain() gives the addresses of a name that is no alias", () => {
  assertEquals(follow("a.example", [address("A.example", 1, 30), address("a.EXAMPLE", 2, 300)]), [
    [],
    ["192.0.2.1 30", "192.0.2.2 300"],
  ]);
  const six = { owner: "a.example", type: AAAA, data: [0x20, 1, ...new Array(13).fill(0), 9] };
  assertEquals(follow("a.example", [six]), [[], ["2001::9 60"]]);
  assertEquals(follow("a.example", []), [[], []]);
});

Deno.test("answerChain() follows aliases in any order, and takes the shortest TTL", () => {
  const records = [
    alias("a.example", "b.example", 300),
    alias("B.example", "c.Example", 20),
    address("c.example", 1, 100),
    address("c.example", 2, 10),
  ];
  const wanted = [["b.example", "c.example"], ["192.0.2.1 20", "192.0.2.2 10"]];
  fc.assert(fc.property(fc.shuffledSubarray(records, { minLength: 4 }), (shuffled) => {
    const [names, addresses] = follow("a.example", shuffled)!;
    assertEquals([names, addresses.sort()], wanted);
  }));
});

Deno.test("answerChain() reads what dns-packet compressed", () => {
  const message = packet.encode({
    type: "response",
    questions: [{ name: "www.a.example", type: "A" }],
    answers: [
      { name: "www.a.example", type: "CNAME", ttl: 5, data: "x.a.example" },
      { name: "x.a.example", type: "A", ttl: 9, data: "192.0.2.7" },
    ],
  });
  const chain = answerChain(new Uint8Array(Buffer.from(message)), { name: "www.a.example" });
  assertEquals(chain, {
    names: ["x.a.example"],
    addresses: [{ address: Uint8Array.of(192, 0, 2, 7), ttlSeconds: 5 }],
  });
});

Deno.test("answerChain() takes no address from beside the chain", () => {
  assertEquals(
    follow("a.example", [
      address("other.example", 1),
      alias("a.example", "b.example"),
      address("a.example", 2),
      address("b.example", 3),
      { ...address("b.example", 4), class: 3 },
      { owner: "b.example", type: A, data: [192, 0, 2] },
      alias("c.example", "d.example"),
    ]),
    [["b.example"], ["192.0.2.3 60"]],
  );
  const elsewhere = answerTo(ask("a.example"), {
    authorities: [address("a.example", 1)],
    additionals: [address("a.example", 2), alias("a.example", "b.example")],
  });
  assertEquals(answerChain(elsewhere, { name: "a.example" }), { names: [], addresses: [] });
});

Deno.test("answerChain() tells names apart that have the same number", () => {
  const [one, other] = ["nxtz.test", "n514a.test"];
  const [a, b] = [one, other].map((text) => nameHash(Uint8Array.from(name(text)), 0));
  assertEquals(a, b);
  const records = [address(one, 1), alias(other, "b.test"), address("b.test", 2)];
  assertEquals(follow(one, records), [[], ["192.0.2.1 60"]]);
  assertEquals(follow(other, records), [["b.test"], ["192.0.2.2 60"]]);
});

Deno.test("answerChain() ends a loop, and a chain that is too long, without addresses", () => {
  assertEquals(
    follow("a.example", [alias("a.example", "b.example"), alias("b.example", "a.example")]),
    [["b.example"], []],
  );
  assertEquals(follow("a.example", [alias("a.example", "a.example")]), [[], []]);
  const chain = (links: number) => [
    ...Array.from({ length: links }, (_, i) => alias(`n${i}.example`, `n${i + 1}.example`)),
    address(`n${links}.example`, 1),
  ];
  assertEquals(follow("n0.example", chain(CHAIN_MAX_LINKS))![1], ["192.0.2.1 60"]);
  const [names, addresses] = follow("n0.example", chain(CHAIN_MAX_LINKS + 1))!;
  assertEquals([names.length, addresses], [CHAIN_MAX_LINKS, []]);
});

Deno.test("answerChain() takes the first of two aliases of one name", () => {
  const records = [alias("a.example", "b.example"), alias("a.example", "c.example")];
  assertEquals(follow("a.example", [...records, address("c.example", 1)]), [["b.example"], []]);
});

Deno.test("answerChain() follows DNAME as RFC 6672 section 2.2 has it", () => {
  const LONG = `${"a".repeat(63)}.`.repeat(3);
  // QNAME, owner, target, result.
  const table: [string, string, string, string | null][] = [
    ["com", "example.com", "example.net", null],
    ["example.com", "example.com", "example.net", null],
    ["a.example.com", "example.com", "example.net", "a.example.net"],
    ["a.b.example.com", "example.com", "example.net", "a.b.example.net"],
    ["ab.example.com", "b.example.com", "example.net", null],
    ["foo.example.com", "example.com", "", "foo"],
    ["shortloop.x.x", "x", "", "shortloop.x"],
    ["a.example.com", "", "example.net", "a.example.com.example.net"],
    ["a.x\\.example.com", "example.com", "example.net", null],
  ];
  for (const [asked, owner, target, result] of table) {
    const records = [{ owner, type: DNAME, data: name(target), ttl: 7 }];
    const [names] = follow(asked, records)!;
    assertEquals(names[0] ?? null, result, asked);
  }
  const dname = { owner: "example.com", type: DNAME, data: name(`${LONG}net`), ttl: 7 };
  assertEquals(follow("a.example.com", [dname, address(`a.${LONG}net`, 1)]), [
    [`a.${LONG}net`],
    ["192.0.2.1 7"],
  ]);
  // 255 octets are too few for this one (RFC 6672: YXDOMAIN).
  assertEquals(follow(`${"b".repeat(62)}.example.com`, [dname]), [[], []]);
});

Deno.test("answerChain() prefers the alias that a server made of a DNAME, and the nearest DNAME", () => {
  const dname = (owner: string, target: string) => ({ owner, type: DNAME, data: name(target) });
  assertEquals(
    follow("a.b.example", [
      dname("example", "far.test"),
      dname("b.example", "near.test"),
      address("a.near.test", 1),
    ]),
    [["a.near.test"], ["192.0.2.1 60"]],
  );
  assertEquals(
    follow("a.b.example", [dname("b.example", "one.test"), alias("a.b.example", "two.test")])![0],
    ["two.test"],
  );
});

Deno.test("answerChain() counts the first 64 addresses of a name, and of each name its own", () => {
  const many = Array.from({ length: 100 }, (_, i) => address("a.example", i));
  const chain = follow("www.example", [...many, alias("www.example", "a.example")]);
  assertEquals(chain?.[1].length, CHAIN_MAX_ADDRESSES);
  assertEquals(chain?.[1].at(-1), `192.0.2.${CHAIN_MAX_ADDRESSES - 1} 60`);
  const beside = follow("b.example", [...many, address("b.example", 7)]);
  assertEquals(beside, [[], ["192.0.2.7 60"]]);
});

Deno.test("answerChain() counts a TTL with its highest bit as 0", () => {
  assertEquals(follow("a.example", [address("a.example", 1, 0x8000_0000)])![1], ["192.0.2.1 0"]);
});

Deno.test("answerChain() is null for what is malformed", () => {
  const asked = { name: "www.example" };
  assertEquals(answerChain(new Uint8Array(11), asked), null);
  assertEquals(answerChain(vector("answer_cut"), asked), null);
  assertEquals(answerChain(vector("arcount_lie"), asked), null);
  assertEquals(follow("a.example", [{ owner: "a.example", type: CNAME, data: [1, 98] }]), null);
  const behind = { owner: "a.example", type: CNAME, data: [...name("b.example"), 0] };
  assertEquals(follow("a.example", [behind]), null);
});
