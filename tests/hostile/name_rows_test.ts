/** Rows 49 to 51: answers that lead astray, lookups of refused names, names in disguise. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Denial } from "../../lib/policy/denial.ts";
import { concat, ethernet, GATEWAY4, GUEST4, ip4, pattern, u16, udp } from "../support/packets.ts";
import { guestPolicy, type PolicySpec } from "../support/policy.ts";
import type { VirtualGatewayOptions } from "../support/virtual_gateway.ts";
import { echo, HOST4, HOST6 } from "../support/virtual_host.ts";
import { HostileGuest } from "./hostile_guest.ts";
import { httpsRecord, Resolver, type Zone } from "./resolver.ts";

const SYN = "S 0:0 <mss 1460>";
const REFUSED_TCP = {
  "policy.refused": 1,
  "icmp.errors": 1,
  "tcp.refused": 1,
  "tcp.reset.sent": 1,
} as const;

/** A gateway with a policy, its resolver, and the refusals that it tells. */
async function start(
  spec: PolicySpec,
  zone: Zone,
  options: VirtualGatewayOptions = {},
): Promise<{ gw: HostileGuest; resolver: Resolver; denials: Denial[] }> {
  const denials: Denial[] = [];
  const gw = await HostileGuest.start({
    policy: guestPolicy(spec),
    onDenial: (denial) => void denials.push(denial),
    ...options,
  });
  return { gw, resolver: new Resolver(gw, zone), denials };
}

/** The guest's SYN to an address is refused, and nothing is dialled. */
async function refusesTcp(gw: HostileGuest, host: string, hostPort = 443): Promise<void> {
  const dialed = gw.host.dialed.length;
  const flow = gw.flow({ host, hostPort });
  await flow.guest(SYN);
  assertEquals(gw.errors().map(({ code }) => code), [host.includes(":") ? "1/1" : "3/13"], host);
  flow.expects("R. 0:0 ack 1");
  gw.silent().counts(REFUSED_TCP);
  assertEquals(gw.host.dialed.length, dialed, host);
}

const LOOPBACK = ["127.0.0.1", "127.8.8.8", "0.0.0.0", "::1", "::", "64:ff9b::7f00:1"];
const METADATA = ["169.254.169.254", "169.254.7.7", "fe80::1", "fd00:ec2::254", "100.100.100.200"];
const PRIVATE = ["10.0.0.7", "192.168.1.1", "100.64.0.1", "fd00::7"];
const PUBLIC = [HOST4, HOST6];

for (
  const [spec, kept] of [
    [{ protect: "off" }, [...METADATA, ...PRIVATE]],
    [{ protect: "metadata" }, PRIVATE],
    [{ protect: "strict" }, []],
    [{ allow: ["*.example"] }, []],
    [{ allow: ["*.example", "10.0.0.0/8:5432/tcp"] }, ["10.0.0.7"]],
    [{ allow: ["*.example", "private"] }, PRIVATE],
    [{ deny: ["10.0.0.0/8", "fd00::/8"] }, ["192.168.1.1", "100.64.0.1"]],
  ] as const satisfies readonly (readonly [PolicySpec, readonly string[]])[]
) {
  const rules = JSON.stringify(spec).replace(/[{}"\[\]]/g, "");
  Deno.test(`hostile 49: answers lose the addresses that a name has no business with, ${rules}`, async () => {
    const all = [...LOOPBACK, ...METADATA, ...PRIVATE, ...PUBLIC];
    const { gw, resolver, denials } = await start(
      { ...spec, ...("deny" in spec ? { deny: [...spec.deny] } : {}) } as PolicySpec,
      {
        "mixed.example": all,
        ...Object.fromEntries(all.map((each, i) => [`n${i}.example`, [each]])),
      },
    );
    await using _gw = gw;
    const mixed = await resolver.lookUp("mixed.example");
    const right = all.filter((each) => PUBLIC.includes(each) || kept.includes(each as never));
    assertEquals(mixed.addresses.toSorted(), right.toSorted());
    assertEquals(gw.network.dnsCounts.stripped, all.length - right.length);
    assertEquals(denials.map(({ reason, name }) => `${reason} ${name}`), ["rebind mixed.example"]);
    gw.silent().counts({ "policy.refused": 1 });
    for (const [i, address] of all.entries()) {
      const { rcode, addresses } = await resolver.lookUp(`n${i}.example`);
      assertEquals(rcode, "NOERROR", "an answer without addresses is an answer");
      assertEquals(addresses, right.includes(address) ? [address] : []);
      if (right.includes(address)) continue;
      const denial = denials.at(-1)!;
      assertEquals([denial.protocol, denial.name, denial.reason], [
        "dns",
        `n${i}.example`,
        "rebind",
      ]);
      const isByRule = !denial.rule.startsWith("protect") && denial.rule !== "default-deny";
      const hint = isByRule
        ? `policy: { deny: [] } without "${denial.rule}" (${denial.origin})`
        : null;
      assertEquals(denial.hint, hint);
      assertStringIncludes(denial.detail, `leads to ${address}, a `);
    }
    gw.silent();
    await gw.empties(0);
  });
}

Deno.test("hostile 49: what the operator answers, or has answered by whom he names, keeps private addresses", async () => {
  const dns = {
    upstreams: ["10.0.0.53"],
    records: { "db.internal": ["10.0.0.5", "fd00::5"], "bad.internal": ["127.0.0.1"] },
    zones: { "corp.example": ["10.0.0.54"] },
  };
  const { gw, resolver } = await start(
    { allow: ["*.example"] },
    { "git.example": ["10.0.0.6"], "git.corp.example": ["10.0.0.6", "127.0.0.1"] },
    { dns },
  );
  await using _gw = gw;
  const corp = new Resolver(gw, resolver.zone, "10.0.0.54");
  assertEquals((await resolver.lookUp("db.internal")).addresses, ["10.0.0.5"]);
  // Word for word what the operator wrote, be it a sinkhole: where it leads is judged at the dial.
  assertEquals((await resolver.lookUp("bad.internal")).addresses, ["127.0.0.1"]);
  assertEquals((await resolver.lookUp("git.corp.example")).addresses, ["10.0.0.6"]);
  assertEquals(corp.asked, ["git.corp.example A"]);
  assertEquals((await resolver.lookUp("git.example")).addresses, []);
  assertEquals(resolver.asked, ["git.example A"]);
  gw.forget();
  await refusesTcp(gw, "127.0.0.1");
  await gw.empties(0);
});

Deno.test("hostile 49: a name that flips from a public address to one inside is judged again at the dial", async () => {
  const { gw, resolver } = await start({ allow: ["flip.example:443,8080"] }, {});
  await using _gw = gw;
  resolver.ttl = 0;
  gw.host.listen(HOST4, 8080, echo);
  for (const inside of ["10.0.0.7", "127.0.0.1", "169.254.169.254", "fd00::7"]) {
    gw.host.listen(inside, 8080, echo);
    resolver.zone = { "flip.example": [HOST4] };
    assertEquals((await resolver.lookUp("flip.example")).addresses, [HOST4]);
    resolver.zone = { "flip.example": [inside] };
    assertEquals((await resolver.lookUp("flip.example")).addresses, [], inside);
    gw.forget();
    // The guest knows the address all the same.
    await refusesTcp(gw, inside, 8080);
    await refusesTcp(gw, inside, 443);
    await gw.run(100);
  }
  assertEquals(gw.host.dialed, []);
  // What the answer before has led to, which was good for no time at all, is good for a minute.
  const flow = gw.flow({ hostPort: 8080 });
  await flow.opens();
  await flow.guest("R 1:1");
  await gw.run(60_000);
  gw.forget();
  await refusesTcp(gw, HOST4, 8080);
  await gw.empties(0);
});

Deno.test("hostile 49: a guest may keep an answer no longer than the name of its address is remembered", async () => {
  for (const [spec, ttl] of [[{ allow: ["a.example"] }, 3_600], [{}, 86_400]] as const) {
    const { gw, resolver } = await start(spec as PolicySpec, {
      "a.example": ["-> b.example"],
      "b.example": [HOST4],
    });
    await using _gw = gw;
    resolver.ttl = 86_400;
    for (const _again of [1, 2]) { // from upstream, then as it was kept
      const { answers } = await resolver.lookUp("a.example");
      assertEquals(answers.map((record) => record.ttl), [ttl, ttl]);
    }
    await gw.empties(0);
  }
});

Deno.test("hostile 49: an address that only another record, name or section holds ties nothing to it", async () => {
  const stray = { type: "A", name: "other.example", data: HOST4 };
  const { gw, resolver } = await start({ allow: ["pypi.org:22"] }, {
    "pypi.org": [{ type: "TXT", data: HOST4 }, stray],
  });
  await using _gw = gw;
  await resolver.lookUp("pypi.org", "TXT");
  await resolver.lookUp("pypi.org", "A");
  assertEquals(gw.figures().pins, 0);
  gw.forget();
  await refusesTcp(gw, HOST4, 22);
  await gw.empties(0);
});

/** A name in wire form: its labels, of any octets. */
function labels(...parts: readonly (string | readonly number[])[]): number[] {
  const octets = parts.map((part) =>
    typeof part === "string" ? [...new TextEncoder().encode(part)] : [...part]
  );
  return [...octets.flatMap((part) => [part.length, ...part]), 0];
}

/** A question without EDNS. */
function question(id: number, name: readonly number[], type = 1): Uint8Array {
  return concat(u16(id), [1, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, u16(type), [0, 1]);
}

/** The answer that says no and nothing else. */
function refusal(asked: Uint8Array): Uint8Array {
  const out = asked.slice();
  out.set([0x81, 0x85], 2);
  return out;
}

Deno.test("hostile 50: a refused name gets REFUSED with the reason, and no octet of it goes upstream", async () => {
  const { gw, resolver, denials } = await start(
    { allow: ["*.example"], deny: ["evil.example", "*.worse.example"] },
    {},
  );
  await using _gw = gw;
  const refused: [name: string, rule: string][] = [
    ["evil.example", "evil.example (policy.deny[0])"],
    ["worse.example", "*.worse.example (policy.deny[1])"],
    ["secret-4711.worse.example", "*.worse.example (policy.deny[1])"],
    ["secret-4711.evil.com", "default-deny (policy.allow[0])"],
    ["com", "default-deny (policy.allow[0])"],
    ["7.0.0.10.in-addr.arpa", "default-deny (policy.allow[0])"],
  ];
  let denied = 0;
  for (const [name, rule] of refused) {
    for (const type of ["A", "AAAA", "TXT", "PTR", "NULL", "UNKNOWN_65", "UNKNOWN_255"]) {
      const { rcode, extended, answers } = await resolver.lookUp(name, type);
      assertEquals([rcode, answers], ["REFUSED", []], `${name} ${type}`);
      assertStringIncludes(extended!, `15 denied by ${rule}; policy: {`);
      assertEquals(gw.network.dnsCounts.denied, ++denied);
      assertEquals([denials.at(-1)!.protocol, denials.at(-1)!.name], ["dns", name]);
    }
  }
  assertEquals([resolver.asked, gw.network.dnsCounts.forwarded], [[], 0]);
  assertEquals([gw.host.openSockets, gw.figures().pins], [1, 0]);
  gw.silent().counts({ "policy.refused": denied });
  await gw.empties(0);
});

Deno.test("hostile 50: without EDNS, over TCP and at any other resolver it is refused alike", async () => {
  const { gw, resolver } = await start({ deny: ["evil.example"] }, {});
  await using _gw = gw;
  const asked = question(0x4711, labels("evil", "example"));
  const right = refusal(asked);
  for (const server of [GATEWAY4, HOST4, "8.8.8.8"]) {
    await gw.sends(ethernet(ip4(udp(GUEST4, 5000, server, 53, asked), { destination: server })));
    const got = gw.taken(({ payload, source }) => source === server ? payload.slice(8) : null);
    assertEquals(got, [right], `over UDP at ${server}`);
    const flow = gw.flow({ host: server, hostPort: 53 });
    await flow.opensToSay(concat(u16(asked.length), asked));
    await flow.speaks(7);
    await gw.run(50);
    flow.sent();
    assertEquals(flow.heard, concat(u16(right.length), right), `over TCP at ${server}`);
    await flow.guest(`R ${asked.length + 3}:${asked.length + 3}`);
    gw.silent().counts({ "policy.refused": 2, "tcp.reset.received": 1 });
  }
  assertEquals([resolver.asked, gw.host.dialed], [[], []]);
  await gw.empties(0);
});

Deno.test("hostile 50: the gateway's own names are answered whatever is allowed, unless they are denied", async () => {
  const { gw, resolver } = await start({ allow: ["pypi.org"], deny: ["db.internal"] }, {}, {
    dns: { upstreams: ["10.0.0.53"], records: { "db.internal": ["10.0.0.5"] } },
  });
  await using _gw = gw;
  assertEquals((await resolver.lookUp("gateway.internal")).addresses, [GATEWAY4]);
  assertEquals((await resolver.lookUp("db.internal")).rcode, "REFUSED");
  assertEquals(resolver.asked, []);
  await gw.empties(0);
});

Deno.test("hostile 50: a thousand names that carry secrets are all refused, and cost nothing", async () => {
  const { gw, resolver, denials } = await start({ allow: ["pypi.org"] }, {});
  await using _gw = gw;
  for (let i = 0; i < 1_000; i++) {
    const secret = Array.from(pattern(60, i), (octet) => 97 + octet % 26);
    const name = labels(secret, secret, secret, "evil", "com");
    const data = udp(GUEST4, 2_000 + i, GATEWAY4, 53, question(i, name));
    await gw.sends(ethernet(ip4(data, { destination: GATEWAY4 })));
  }
  const rcodes = gw.taken(({ payload }) => payload[8 + 3]! & 15);
  assertEquals(rcodes, Array(1_000).fill(5));
  assertEquals([resolver.asked, gw.network.dnsCounts.forwarded, denials.length], [[], 0, 1_000]);
  assert(gw.network.denials.groups().length <= 512);
  assertEquals(gw.network.denials.total, 1_000);
  await gw.empties(0);
});

Deno.test("hostile 51: names are matched by label, whatever their case, dots and octets", async () => {
  const { gw, resolver } = await start(
    { deny: ["evil.com", "*.worse.com", "xn--bcher-kva.example"] },
    {},
  );
  await using _gw = gw;
  const cases: [name: number[], isRefused: boolean][] = [
    [labels("evil", "com"), true],
    [labels("EVIL", "com"), true],
    [labels("eViL", "CoM"), true],
    [labels("www", "evil", "com"), false],
    [labels("badevil", "com"), false],
    [labels("evil", "com", "example"), false],
    [labels("evil.com"), false],
    [labels("www.evil", "com"), false],
    [labels("evil", [0x63, 0x6f, 0x6d, 0]), false],
    [labels([0x65, 0x76, 0x69, 0x6c, 0xa0], "com"), false],
    [labels("WORSE", "com"), true],
    [labels("a", "b", "Worse", "COM"), true],
    [labels("worse.com"), false],
    [labels("a.worse", "com"), false],
    [labels("a.b", "worse", "com"), true],
    [labels([0], "worse", "com"), true],
    [labels("aworse", "com"), false],
    [labels("XN--BCHER-KVA", "example"), true],
    [labels([0x62, 0xfc, 0x63, 0x68, 0x65, 0x72], "example"), false],
  ];
  for (const [i, [name, isRefused]] of cases.entries()) {
    const before = resolver.asked.length;
    await resolver.askRaw(question(i, name));
    await gw.settle();
    const [outcome] = resolver.outcomes();
    assertEquals(outcome?.rcode, isRefused ? "REFUSED" : "NOERROR", `${name}`);
    assertEquals(resolver.asked.length - before, isRefused ? 0 : 1, `${name}`);
  }
  await gw.empties(0);
});

Deno.test("hostile 51: an allowed name allows no name that looks like it", async () => {
  const { gw, resolver } = await start({ allow: ["pypi.org", "*.python.org"] }, {});
  await using _gw = gw;
  const cases: [name: number[], isAllowed: boolean][] = [
    [labels("pypi", "org"), true],
    [labels("PYPI", "ORG"), true],
    [labels("python", "org"), true],
    [labels("docs", "Python", "org"), true],
    [labels("www", "pypi", "org"), false],
    [labels("badpypi", "org"), false],
    [labels("pypi", "org", "evil", "com"), false],
    [labels("pypi.org"), false],
    [labels("pypi.org", "evil", "com"), false],
    [labels("evilpython", "org"), false],
    [labels("evil.python", "org"), false],
    [labels("org"), false],
    [[0], false],
  ];
  for (const [i, [name, isAllowed]] of cases.entries()) {
    const before = resolver.asked.length;
    await resolver.askRaw(question(i, name));
    await gw.settle();
    assertEquals(resolver.outcomes()[0]?.rcode, isAllowed ? "NOERROR" : "REFUSED", `${name}`);
    assertEquals(resolver.asked.length - before, isAllowed ? 1 : 0, `${name}`);
  }
  await gw.empties(0);
});

Deno.test("hostile 51: an alias of a denied name is refused, wherever it stands in the chain", async () => {
  const { gw, resolver, denials } = await start({ deny: ["evil.com", "half.com:25"] }, {
    "evil.com": [HOST4],
    "a.example": ["-> evil.com"],
    "b.example": ["-> EVIL.com"],
    "c.example": ["-> d.example"],
    "d.example": ["-> e.example"],
    "e.example": ["-> evil.com"],
    "f.example": ["-> half.com"],
    "half.com": [HOST4],
    "g.example": ["-> notevil.com"],
    "notevil.com": [HOST4],
  });
  await using _gw = gw;
  for (const name of ["a.example", "b.example", "c.example", "d.example"]) {
    const { rcode, extended, answers } = await resolver.lookUp(name);
    assertEquals([rcode, answers], ["REFUSED", []], name);
    assertStringIncludes(extended!, "15 denied by evil.com (policy.deny[0])");
    assertEquals(denials.at(-1)!.name, "evil.com");
  }
  assertEquals(gw.figures().pins, 0);
  assertEquals(gw.network.dnsCounts.denied, 4);
  for (const name of ["f.example", "g.example"]) {
    assertEquals((await resolver.lookUp(name)).addresses, [HOST4], name);
  }
  gw.silent().counts({ "policy.refused": 4 });
  await gw.empties(0);
});

Deno.test("hostile 51: an allowed name may be an alias; its address is that name's, not the alias's", async () => {
  const { gw, resolver } = await start({ allow: ["pypi.org:22"] }, {
    "pypi.org": ["-> cdn.example"],
    "cdn.example": ["-> pop7.cdn.example"],
    "pop7.cdn.example": [HOST4],
  });
  await using _gw = gw;
  const { rcode, addresses } = await resolver.lookUp("pypi.org");
  assertEquals([rcode, addresses], ["NOERROR", [HOST4]]);
  assertEquals((await resolver.lookUp("pop7.cdn.example")).rcode, "REFUSED");
  gw.host.listen(HOST4, 22, echo);
  const flow = gw.flow({ hostPort: 22 });
  await flow.opens();
  await flow.guest("R 1:1");
  await gw.empties(0);
});

Deno.test("hostile 51: chains without an end tie no address to a name", async () => {
  const { gw, resolver } = await start({ allow: ["*.example:22"] }, {});
  await using _gw = gw;
  const alias = (from: string, to: string) => ({ type: "CNAME", name: from, data: to });
  const address = (name: string) => ({ type: "A", name, data: HOST4 });
  const chains: [what: string, records: readonly unknown[]][] = [
    ["a circle", [alias("x.example", "y.example"), alias("y.example", "x.example")]],
    ["itself", [alias("x.example", "x.example"), address("x.example")]],
    ["nowhere", [alias("x.example", "y.example"), address("z.example")]],
    [
      "17 links",
      [
        alias("x.example", "n0.example"),
        ...Array.from({ length: 17 }, (_, i) => alias(`n${i}.example`, `n${i + 1}.example`)),
        address("n17.example"),
      ],
    ],
  ];
  for (const [what, records] of chains) {
    resolver.zone = { "x.example": records as never };
    await resolver.lookUp("x.example");
    assertEquals(gw.figures().pins, 0, what);
    await gw.run(61_000);
  }
  gw.forget();
  await refusesTcp(gw, HOST4, 22);
  await gw.empties(0);
});

Deno.test("hostile 51: hints of addresses and keys for encrypted hellos go where a name is allowed by rule", async () => {
  const alpn = [1, [2, 0x68, 0x32]] as const;
  const hint4 = [4, [93, 184, 216, 34]] as const;
  const evil4 = [4, [169, 254, 169, 254]] as const;
  const ech = [5, [0, 4, 0xfe, 0x0d, 0, 0]] as const;
  const hint6 = [6, [0x26, 6, 0x28, 0, 2, 0x20, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x34]] as const;
  const zone = {
    "all.example": [httpsRecord([alpn, hint4, ech, hint6])],
    "evil.example": [httpsRecord([alpn, evil4])],
    "plain.example": [httpsRecord([alpn])],
  };
  const bare = httpsRecord([alpn]).data;
  for (
    const [spec, isFenced] of [
      [{ allow: ["*.example"] }, true],
      [{ allow: ["public", "pypi.org"] }, true],
      [{ allow: ["public"] }, false],
      [{ deny: ["evil.com"] }, false],
      [{}, false],
    ] as const
  ) {
    const { gw, resolver } = await start(spec as PolicySpec, zone);
    await using _gw = gw;
    const data = async (name: string) =>
      (await resolver.lookUp(name, "UNKNOWN_65")).answers[0].data;
    const whole = httpsRecord([alpn, hint4, ech, hint6]).data;
    assertEquals(await data("all.example"), isFenced ? bare : whole, JSON.stringify(spec));
    assertEquals(await data("evil.example"), bare, "a hint that leads to a refused address goes");
    assertEquals(await data("plain.example"), bare);
    assertEquals(gw.network.dnsCounts.hintsStripped, isFenced ? 2 : 1);
    assertEquals(gw.figures().pins, 0, "hints tie nothing");
    await gw.empties(0);
  }
});
