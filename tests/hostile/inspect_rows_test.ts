/** Rows 53 and 54: flows that only a name could allow, and what hides names. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { capturedFlow } from "../inspect/flows.ts";
import {
  clientHello,
  type Extension,
  inRecords,
  PLAIN_EXTENSIONS,
  serverName,
} from "../inspect/hellos.ts";
import { concat, ethernet, GUEST4, ip4, pattern, udp } from "../support/packets.ts";
import { HOST4, HOST6 } from "../support/virtual_host.ts";
import { helloFor, passes, REFUSED, refuses, requestFor, speak, start, SYN } from "./inspection.ts";

Deno.test("hostile 53: real clients' hellos and requests for the allowed name pass, every octet in order", async () => {
  const { gw, resolver, denials } = await start({ allow: ["*.example.org"] });
  await using _gw = gw;
  for (const port of [80, 443]) gw.host.listen(HOST4, port);
  const clients: Record<string, string> = {
    tls10_openssl: "old",
    tls12_openssl: "tls12",
    tls13_openssl: "tls13",
    tls_curl_alpn: "curl",
    tls_deno_connect: "deno",
    tls_deno_fetch: "fetch",
    tls_node: "node",
    tls_node24_hybrid: "hybrid",
    tls_python: "python",
    http_curl: "curl",
    http_curl_10: "old",
    http_curl_post: "post",
    http_curl_upgrade: "upgrade",
    http_deno_fetch: "fetch",
    http_node: "node",
    http_python: "python",
    http_websocket: "socket",
    http_wget: "wget",
  };
  const names = Object.values(clients).map((name) => `${name}.example.org`);
  resolver.zone = Object.fromEntries(names.map((name) => [name, [HOST4]]));
  for (const [file, name] of Object.entries(clients)) {
    const words = capturedFlow(file);
    const hostPort = file.startsWith("tls") ? 443 : 80;
    // Sixteen names at most lead to one address: this one is asked for at the moment.
    await gw.run(3_600_000);
    gw.forget();
    await resolver.lookUp(`${name}.example.org`);
    await passes(gw, words, { hostPort });
  }
  resolver.zone = { "address.example.org": [HOST4] };
  await resolver.lookUp("address.example.org");
  gw.forget();
  for (
    const [file, hostPort] of [
      ["tls_curl_address", 443],
      ["tls_openssl_no_name", 443],
      ["tls_openssl_address", 443],
      ["http_curl_connect", 80],
      ["http_curl_http2", 80],
      ["other_ssh", 443],
    ] as const
  ) {
    await refuses(gw, denials, capturedFlow(file), "no-name", { hostPort });
  }
  await gw.empties(0);
});

Deno.test("hostile 53: the name in TLS and HTTP must be the allowed one, each on its port", async () => {
  const allow = ["allowed.example", "*.below.example"];
  const { gw, resolver, denials } = await start({ allow, denyPage: false });
  await using _gw = gw;
  for (const host of [HOST4, HOST6]) {
    for (const port of [80, 443]) gw.host.listen(host, port);
  }
  await resolver.lookUp("allowed.example", "AAAA");
  await resolver.lookUp("b.below.example");
  gw.forget();
  for (const host of [HOST4, HOST6]) {
    await passes(gw, helloFor("allowed.example"), { host });
    await passes(gw, helloFor("ALLOWED.example"), { host });
    await passes(gw, requestFor("allowed.example"), { host, hostPort: 80 });
    await passes(gw, requestFor("Allowed.Example.:80"), { host, hostPort: 80 });
  }
  await passes(gw, helloFor("b.below.example"));
  const wrong: [words: Uint8Array, reason: string, port?: number][] = [
    [helloFor("evil.com"), "wrong-name"],
    [helloFor("allowed.example.evil.com"), "wrong-name"],
    [helloFor("notallowed.example"), "wrong-name"],
    [helloFor("www.allowed.example"), "wrong-name"],
    [helloFor("c.below.example"), "wrong-name"], // allowed, and never looked up
    [helloFor(null), "no-name"],
    [helloFor(HOST4), "no-name"],
    [helloFor("allowed.example\0.evil.com"), "no-name"],
    [helloFor("allowed.example", [0xfe0d, [0, 0, 1, 0]]), "no-name"], // ECH, or GREASE
    [inRecords(clientHello({ extensions: null })), "no-name"],
    [
      inRecords(clientHello({ extensions: [serverName("allowed.example", "evil.com")] })),
      "no-name",
    ],
    [requestFor("allowed.example"), "wrong-name"], // HTTP where TLS belongs
    [helloFor("allowed.example"), "wrong-name", 80],
    [capturedFlow("other_ssh"), "no-name"],
    [pattern(700, 3), "no-name"],
    [new Uint8Array(1), "no-name"],
  ];
  for (const [words, reason, hostPort = 443] of wrong) {
    await refuses(gw, denials, words, reason, { hostPort });
  }
  await gw.empties(0);
});

Deno.test("hostile 53: a literal address that nobody has looked up is refused at the SYN", async () => {
  const { gw, denials } = await start();
  await using _gw = gw;
  for (const host of ["93.184.216.35", "2606:2800:220:1::35"]) {
    for (const hostPort of [80, 443, 22]) {
      const flow = gw.flow({ host, hostPort });
      await flow.guest(SYN);
      const [error, ...more] = gw.errors();
      assertEquals([error!.code, more], [host.includes(":") ? "1/1" : "3/13", []]);
      // What it quotes is the guest's own SYN: so a socket is told of it.
      const sent = flow.frame(SYN).slice(14);
      const headerBytes = host.includes(":") ? 40 : 20;
      const quoted = error!.quote.slice(headerBytes, headerBytes + 8);
      assertEquals(quoted, sent.slice(headerBytes, headerBytes + 8));
      flow.expects("R. 0:0 ack 1");
      gw.silent().counts({
        "policy.refused": 1,
        "icmp.errors": 1,
        "tcp.refused": 1,
        "tcp.reset.sent": 1,
      });
      assertEquals([denials.at(-1)!.reason, denials.at(-1)!.name], ["default-deny", null]);
    }
  }
  assertEquals(gw.host.dialed, []);
  await gw.empties(0);
});

Deno.test("hostile 53: other ports pass by the lookup alone, and only those that the rule names", async () => {
  const { gw, denials } = await start({ allow: ["allowed.example:22,443"] });
  await using _gw = gw;
  gw.host.listen(HOST4, 22);
  const flow = gw.flow({ hostPort: 22 });
  const peer = await flow.opens();
  await flow.livesOn(peer);
  for (const hostPort of [80, 23, 8443]) {
    await gw.flow({ hostPort }).guest(SYN);
    assertEquals([gw.errors().length, denials.at(-1)!.reason], [1, "default-deny"], `${hostPort}`);
    assertStringIncludes(denials.at(-1)!.detail, `do not name tcp port ${hostPort}`);
  }
  await gw.empties(0);
});

for (const segmentBytes of [1, 2, 7, 100, 1460]) {
  Deno.test(`hostile 53: a hello in segments of ${segmentBytes} octets and in many records, nothing of it to the host before the verdict`, async () => {
    const { gw } = await start();
    await using _gw = gw;
    gw.host.listen(HOST4, 443);
    const hello = clientHello({ extensions: [serverName("allowed.example"), ...PLAIN_EXTENSIONS] });
    for (const records of [[], [1], [4, 5, 30, 1], [100]]) {
      const words = inRecords(hello, ...records);
      const flow = gw.flow({ hostPort: 443 });
      await flow.opensToSay(words);
      const before = gw.host.accepted.length;
      await flow.speaks(segmentBytes, 0, words.length - 1);
      await gw.run(200);
      assertEquals(gw.host.accepted.length, before, "one octet is missing");
      assert(flow.sent().every(({ ack }) => ack! <= words.length));
      await flow.speaks(1, words.length - 1);
      await gw.run(50);
      const peer = gw.host.accepted[before]!;
      assertEquals(peer.take(), words);
      flow.expects(`. 1:1 ack ${words.length + 1}`);
      await flow.guest(`R ${words.length + 1}:${words.length + 1}`);
      assert(peer.isClosed);
      gw.silent().counts({ "tcp.reset.received": 1 });
      assert(gw.isEmpty);
    }
  });
}

Deno.test("hostile 53: segments out of order, twice and overlapping are judged as the stream that they are", async () => {
  const { gw, denials } = await start();
  await using _gw = gw;
  gw.host.listen(HOST4, 443);
  const words = helloFor("allowed.example");
  const flow = gw.flow({ hostPort: 443 });
  await flow.opensToSay(words);
  await flow.speaks(50, 50);
  assertEquals(gw.host.accepted.length, 0);
  await flow.speaks(10, 10, 40);
  await flow.speaks(60, 0, 60);
  await gw.run(50);
  const [peer] = gw.host.accepted;
  assertEquals(peer!.take(), words);
  assertEquals(denials, []);
  const end = words.length + 1;
  await flow.guest(`R ${end}:${end}`);
  // Of two octets for one place the first counts: a harmless name can't take the place of the true one.
  const evil = helloFor("disguise-1.evil.example");
  const good = helloFor("allowed.example".padEnd(23, "x"));
  const other = gw.flow({ hostPort: 443, guestPort: 40_001 });
  await other.opensToSay(evil);
  await other.speaks(1460, 1);
  other.says = good.slice(0, evil.length);
  await other.speaks(1460, 0, evil.length);
  await gw.run(50);
  assertEquals([gw.host.accepted.length, denials.at(-1)?.name], [1, "disguise-1.evil.example"]);
  gw.forget();
  await gw.empties(0);
});

Deno.test("hostile 53: what comes behind the hello before the host has connected reaches it in order", async () => {
  const { gw } = await start();
  await using _gw = gw;
  gw.host.listen(HOST4, 443, null, { delayMs: 300 });
  const hello = helloFor("allowed.example");
  const words = concat(hello, pattern(40_000, 9));
  const flow = gw.flow({ hostPort: 443 });
  await flow.opensToSay(words);
  await flow.speaks(1460, 0, 3_000);
  await gw.run(100);
  await flow.speaks(1460, 3_000, 30_000);
  await gw.run(199);
  assertEquals(gw.host.accepted.length, 0);
  await gw.run(2);
  await flow.speaks(1460, 30_000);
  await gw.run(50);
  const [peer] = gw.host.accepted;
  assertEquals(peer!.take(), words);
  // The host answers, and both ends finish.
  peer!.write(pattern(5_000, 4));
  peer!.close();
  await gw.run(50);
  flow.sent();
  assertEquals(flow.heard, pattern(5_000, 4));
  const end = words.length + 1;
  await flow.guest(`F. ${end}:${end} ack ${flow.sentEnd}`);
  await gw.run(50);
  assert(peer!.isClosed);
  gw.forget();
  await gw.empties();
});

Deno.test("hostile 53: a host that refuses or is silent after the verdict is an RST for the guest", async () => {
  const { gw } = await start();
  await using _gw = gw;
  gw.host.refuse(HOST4, 443, "ECONNREFUSED", 10);
  const { flow } = await speak(gw, helloFor("allowed.example"));
  assertEquals(flow.sent().filter(({ flags }) => flags.includes("R")).length, 1);
  gw.silent().counts({ "tcp.reset.sent": 1 });
  assert(gw.isEmpty);
  gw.host.blackHole(HOST4, 443);
  const { flow: waits } = await speak(gw, helloFor("allowed.example"), { guestPort: 40_001 });
  assertEquals(gw.figures().dials, 1);
  await gw.run(DEFAULT_LIMITS.tcpDialTimeoutMs + 1_000);
  assertEquals(waits.sent().filter(({ flags }) => flags.includes("R")).length, 1);
  gw.silent().counts({ "tcp.reset.sent": 1 });
  await gw.empties(0);
});

Deno.test("hostile 53: a refused request is told why, where that is wished, and then the flow ends", async () => {
  for (const denyPage of [true, false]) {
    const { gw, denials } = await start({ allow: ["allowed.example"], denyPage });
    await using _gw = gw;
    const words = requestFor("evil.com", "POST /secret HTTP/1.1");
    const { flow } = await speak(gw, words, { hostPort: 80 });
    const sent = flow.sent();
    const page = new TextDecoder().decode(flow.heard);
    assertEquals([denials.length, denials[0]!.reason, denials[0]!.name], [
      1,
      "wrong-name",
      "evil.com",
    ]);
    if (!denyPage) {
      assertEquals([page, sent.filter(({ flags }) => flags.includes("R")).length], ["", 1]);
      gw.silent().counts(REFUSED);
      await gw.empties(0);
      continue;
    }
    assertEquals(page.split("\r\n")[0], "HTTP/1.1 403 Forbidden");
    assertStringIncludes(page, "Connection: close\r\n");
    assertStringIncludes(page, "evil.com");
    assertStringIncludes(page, 'policy: { allow: ["evil.com"] }');
    assert(sent.at(-1)!.flags.includes("F"), "the gateway finishes behind it");
    assert(!sent.some(({ flags }) => flags.includes("R")));
    gw.silent().counts({ "policy.refused": 1 });
    const end = words.length + 1;
    await flow.guest(`F. ${end}:${end} ack ${flow.sentEnd}`);
    await gw.settle();
    flow.expects(`. ${flow.sentEnd}:${flow.sentEnd} ack ${end + 1}`);
    assertEquals(gw.host.dialed, []);
    await gw.empties();
  }
});

Deno.test("hostile 53: a flow that begins while its lookup is good shows its name a moment later", async () => {
  const { gw, resolver, denials } = await start();
  await using _gw = gw;
  resolver.ttl = 100;
  await resolver.lookUp("b.below.example");
  gw.host.listen(HOST4, 443);
  gw.forget();
  await gw.run(99_990);
  const words = helloFor("b.below.example");
  const flow = gw.flow({ hostPort: 443 });
  await flow.opensToSay(words);
  await gw.run(20);
  // Meanwhile others are refused at the same address.
  const late = gw.flow({ hostPort: 443, guestPort: 40_001 });
  await late.guest(SYN);
  late.expects("R. 0:0 ack 1");
  assertEquals([gw.errors().length, denials.length], [1, 1]);
  gw.forget();
  await gw.run(4_000);
  await flow.speaks();
  await gw.run(50);
  assertEquals([gw.host.accepted.length, gw.host.accepted[0]?.take()], [1, words]);
  await flow.guest(`R ${words.length + 1}:${words.length + 1}`);
  gw.forget();
  await gw.empties(0);
});

Deno.test("hostile 53: a request that is refused with its end behind it is told why, too", async () => {
  const { gw } = await start();
  await using _gw = gw;
  const words = requestFor("evil.com");
  const end = words.length + 1;
  const flow = gw.flow({ hostPort: 80 });
  await flow.opensToSay(words);
  await flow.guest(`FP. 1:${end} ack 1`);
  await gw.run(10);
  const sent = flow.sent();
  assertStringIncludes(new TextDecoder().decode(flow.heard), "403 Forbidden");
  assert(sent.at(-1)!.flags.includes("F"));
  await flow.guest(`. ${end + 1}:${end + 1} ack ${flow.sentEnd}`);
  gw.silent().counts({ "policy.refused": 1 });
  await gw.empties(0);
});

Deno.test("hostile 53: a hello that hides a name passes by the one that it shows where the operator says so", async () => {
  const ech: Extension = [0xfe0d, [0, 0, 1, 0, 1, 7, 0, 0, 0, 0]];
  const { gw, denials } = await start({ allow: ["allowed.example"], ech: "outer" });
  await using _gw = gw;
  gw.host.listen(HOST4, 443);
  await passes(gw, helloFor("allowed.example", ech));
  await refuses(gw, denials, helloFor("evil.com", ech), "wrong-name");
  await gw.empties(0);
});

Deno.test("hostile 54: DNS over HTTPS and TLS is judged as any flow is, UDP 443 under a rule about a name is refused", async () => {
  const { gw, resolver, denials } = await start({
    allow: ["allowed.example", "doh.example", "dot.example:853", "quad.example:853/tls"],
    deny: ["dns.example"],
  });
  await using _gw = gw;
  const DOH = "93.184.216.53";
  // By its address, which nobody has looked up.
  for (const hostPort of [443, 853]) {
    await gw.flow({ host: "8.8.8.8", hostPort }).guest(SYN);
    assertEquals([gw.errors().length, denials.at(-1)!.reason], [1, "default-deny"]);
  }
  gw.forget();
  assertEquals((await resolver.lookUp("dns.example")).rcode, "REFUSED");
  resolver.zone = {
    "doh.example": [DOH],
    "dot.example": ["93.184.216.54"],
    "quad.example": ["93.184.216.55"],
  };
  for (const name of Object.keys(resolver.zone)) await resolver.lookUp(name);
  gw.forget();
  gw.host.listen(DOH, 443);
  // An allowed resolver: HTTPS with its name, nobody else's.
  await passes(gw, helloFor("doh.example"), { host: DOH });
  await refuses(gw, denials, helloFor("dns.example"), "rule", { host: DOH });
  await refuses(gw, denials, helloFor("allowed.example"), "wrong-name", { host: DOH });
  // DNS over TLS has its own port: by the lookup where the rule says no more, or with its name.
  gw.host.listen("93.184.216.54", 853);
  const plain = gw.flow({ host: "93.184.216.54", hostPort: 853 });
  const peer = await plain.opens();
  await plain.livesOn(peer);
  gw.host.listen("93.184.216.55", 853);
  await passes(gw, helloFor("quad.example"), { host: "93.184.216.55", hostPort: 853 });
  await refuses(gw, denials, helloFor("dot.example"), "wrong-name", {
    host: "93.184.216.55",
    hostPort: 853,
  });
  await gw.run(100);
  // QUIC and DNS over QUIC.
  gw.forget();
  for (
    const [host, port, reason] of [[DOH, 443, "quic"], [HOST4, 443, "quic"], [
      DOH,
      853,
      "default-deny",
    ]] as const
  ) {
    const data = udp(GUEST4, 5_000, host, port, pattern(1_200));
    const frame = ethernet(ip4(data, { destination: host }));
    await gw.sends(frame);
    const [error, ...more] = gw.errors();
    assertEquals([error!.code, more], ["3/13", []]);
    assertEquals(error!.quote.slice(20, 28), data.slice(0, 8), "the datagram's own header");
    assertEquals([denials.at(-1)!.protocol, denials.at(-1)!.reason], ["udp", reason]);
    gw.silent().counts({ "policy.refused": 1, "icmp.errors": 1 });
  }
  assertEquals(gw.figures().udpFlows, 0);
  await gw.empties(0);
});

Deno.test("hostile 54: UDP 443 passes where a rule about addresses allows it", async () => {
  const { gw } = await start({ allow: ["allowed.example", `${HOST4}:443/udp`] });
  await using _gw = gw;
  const got: Uint8Array[] = [];
  gw.host.udp(HOST4, 443, (data) => void got.push(data));
  const data = udp(GUEST4, 5_000, HOST4, 443, pattern(1_200));
  await gw.sends(ethernet(ip4(data, { destination: HOST4 })));
  assertEquals(got, [pattern(1_200)]);
  gw.silent().counts({ "udp.opened": 1, "udp.up": 1 });
  await gw.empties();
});
