/** What one guest may reach of another: by the policy of whoever begins a flow. */
import { assertEquals } from "@std/assert";
import { LanRig } from "../support/lan_rig.ts";
import { ethernet, fragment6, icmp4, icmp6, ip4, ip6, pattern, udp } from "../support/packets.ts";
import { guestPolicy } from "../support/policy.ts";

const [FIN, SYN, RST, ACK] = [0x01, 0x02, 0x04, 0x10];
const NONE = new Uint8Array(0);

/** The TCP flags and numbers of the last frame that came to a guest. */
function lastTcp(frames: readonly Uint8Array[]): { flags: number; seq: number; ack: number } {
  const frame = frames.at(-1)!;
  assertEquals(frame[23], 6, "it is TCP");
  const view = new DataView(frame.buffer, frame.byteOffset + 34);
  return { flags: view.getUint8(13), seq: view.getUint32(4), ack: view.getUint32(8) };
}

/** Whether a frame comes to `to`; what is said to its sender is left for the test. */
async function comes(lan: LanRig, from: number, to: number, frame: Uint8Array): Promise<boolean> {
  lan.frames(to);
  lan.send(from, frame);
  await lan.settle();
  return lan.frames(to).length > 0;
}

Deno.test("without rules everything between guests passes", async () => {
  await using lan = new LanRig(2);
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN)), true);
  assertEquals(await comes(lan, 0, 1, lan.udp(0, 1)), true);
  assertEquals(await comes(lan, 0, 1, lan.ip4(0, 1, 47, pattern(20))), true, "GRE");
});

for (const rule of ["10.77.0.3", "b.internal", "private", "10.77.0.0/24:80", "*.internal"]) {
  Deno.test(`deny: ${rule}`, async () => {
    await using lan = new LanRig(3, { policies: [{ deny: [rule] }] });
    assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN)), false);
    assertEquals(
      lan.denials[0]!.map(({ protocol, name, destination, rule, reason }) => {
        return { protocol, name, destination, rule, reason };
      }),
      [{
        protocol: "tcp",
        name: "b.internal",
        destination: "10.77.0.3:80",
        rule,
        reason: "rule",
      }],
    );
    const told = lan.frames(0);
    assertEquals(told.map((frame) => frame[23]), [1, 6], "an ICMP error and a reset");
    assertEquals([...told[0]!.subarray(34, 36)], [3, 13]);
    assertEquals(lastTcp(told), { flags: RST | ACK, seq: 0, ack: 2 });
    assertEquals(lan.counted(0), { "policy.refused": 1, "icmp.errors": 1, "tcp.reset.sent": 1 });
    // What b begins is b's policy's to judge, and a's answer passes.
    assertEquals(await comes(lan, 1, 0, lan.tcp(1, 0, SYN, [9_000, 22])), true);
    assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN | ACK, [22, 9_000])), true);
    assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, ACK, [22, 9_000])), true);
  });
}

for (const rule of ["10.77.0.3:80", "b.internal", "b.internal:80/tcp", "private:80"]) {
  Deno.test(`allow: ${rule}, and all else is denied`, async () => {
    await using lan = new LanRig(3, { policies: [{ allow: [rule] }] });
    assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN)), true);
    assertEquals(await comes(lan, 1, 0, lan.tcp(1, 0, SYN | ACK, [80, 40_000])), true);
    assertEquals(lan.denials[0], []);
    assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN, [40_001, 22])), false);
    assertEquals(await comes(lan, 0, 1, lan.udp(0, 1)), false);
    const ping = lan.ip4(0, 1, 1, icmp4(8, 0, [0, 7, 0, 1], NONE));
    assertEquals(await comes(lan, 0, 1, ping), false);
    const denied = lan.denials[0]!.map(({ protocol, destination, reason, hint }) => {
      return [protocol, destination, reason, hint];
    });
    assertEquals(denied, [
      ["tcp", "10.77.0.3:22", "default-deny", 'policy: { allow: ["b.internal:22"] }'],
      ["udp", "10.77.0.3:7", "default-deny", 'policy: { allow: ["b.internal:7/udp"] }'],
      ["icmp", "10.77.0.3", "default-deny", 'policy: { allow: ["b.internal/icmp"] }'],
    ]);
  });
}

Deno.test("a name allows all addresses of its guest, over both families, unasked", async () => {
  await using lan = new LanRig(2, {
    policies: [{ allow: ["b.internal:7/udp", "b.internal/icmp"] }],
  });
  assertEquals(await comes(lan, 0, 1, lan.udp(0, 1)), true);
  assertEquals(await comes(lan, 0, 1, lan.udp6(0, 1)), true);
  const [a, b] = [lan.members[0]!.ip6!, lan.members[1]!.ip6!];
  const ping = lan.ip6(0, 1, 58, icmp6(a, b, 128, 0, [0, 8, 0, 1], NONE));
  assertEquals(await comes(lan, 0, 1, ping), true);
  assertEquals(lan.denials[0], []);
});

Deno.test("protect levels are about the host's networks, not about neighbors", async () => {
  await using lan = new LanRig(2, { policies: [{ protect: "strict" }] });
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN)), true);
});

Deno.test("an answer belongs to a flow: nothing new comes along with it", async () => {
  const policies = [undefined, { allow: ["192.0.2.1"] }]; // b may reach nobody here
  await using lan = new LanRig(3, { policies });
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN)), true);
  assertEquals(await comes(lan, 1, 0, lan.tcp(1, 0, SYN | ACK, [80, 40_000])), true);
  assertEquals(await comes(lan, 1, 0, lan.tcp(1, 0, ACK, [80, 40_000])), true);
  const news: [string, Uint8Array][] = [
    ["a SYN the other way on the same ports", lan.tcp(1, 0, SYN, [80, 40_000])],
    ["another port of a", lan.tcp(1, 0, SYN | ACK, [80, 40_001])],
    ["another port of b", lan.tcp(1, 0, ACK, [81, 40_000])],
    ["UDP on the same ports", lan.udp(1, 0, [80, 40_000])],
    ["the same ports of another guest", lan.tcp(1, 2, ACK, [80, 40_000])],
  ];
  for (const [what, frame] of news) {
    assertEquals(await comes(lan, 1, frame[5]! - 2, frame), false, what);
  }
  assertEquals(lan.denials[1]!.length, news.length);
  // Datagrams and pings likewise.
  assertEquals(await comes(lan, 0, 1, lan.udp(0, 1)), true);
  assertEquals(await comes(lan, 1, 0, lan.udp(1, 0, [7, 5_000])), true);
  assertEquals(await comes(lan, 1, 0, lan.udp(1, 0, [7, 5_001])), false);
  const ping = (from: number, to: number, type: number, id = 7) =>
    lan.ip4(from, to, 1, icmp4(type, 0, [0, id, 0, 1], NONE));
  assertEquals(await comes(lan, 0, 1, ping(0, 1, 8)), true);
  assertEquals(await comes(lan, 1, 0, ping(1, 0, 0)), true);
  lan.counted(1);
  assertEquals(await comes(lan, 1, 0, ping(1, 0, 0, 8)), false);
  assertEquals(lan.counted(1), { "drop.lan.reply": 1 });
  assertEquals(await comes(lan, 1, 0, ping(1, 0, 8)), false, "a ping of b with a's number");
});

Deno.test("ICMP errors pass where they are about a flow, and only to whom it is", async () => {
  const policies = [undefined, { allow: ["192.0.2.1"] }];
  await using lan = new LanRig(3, { policies });
  const datagram = lan.udp(0, 1);
  assertEquals(await comes(lan, 0, 1, datagram), true);
  const about = (quoted: Uint8Array, to = 0) =>
    lan.ip4(1, to, 1, icmp4(3, 3, [0, 0, 0, 0], quoted.slice(14)));
  assertEquals(await comes(lan, 1, 0, about(datagram)), true, "about a's datagram");
  lan.counted(1);
  for (
    const [what, frame] of [
      ["about a datagram that never was", about(lan.udp(0, 1, [5_001, 7]))],
      ["about a flow of a and c", about(lan.udp(0, 2))],
      ["about b's own", about(lan.udp(1, 0, [7, 5_000]))],
      ["to c, about a's", about(datagram, 2)],
      ["with a quote too short", about(datagram.subarray(0, 40))],
      ["with no quote", about(datagram.subarray(0, 14))],
    ] as const
  ) {
    assertEquals(await comes(lan, 1, frame[5]! - 2, frame), false, what);
    assertEquals(lan.counted(1), { "drop.lan.reply": 1 }, what);
  }
  const [a, b] = [lan.members[0]!.ip6!, lan.members[1]!.ip6!];
  const datagram6 = lan.udp6(0, 1);
  assertEquals(await comes(lan, 0, 1, datagram6), true);
  const error = icmp6(b, a, 1, 4, [0, 0, 0, 0], datagram6.slice(14));
  assertEquals(await comes(lan, 1, 0, lan.ip6(1, 0, 58, error)), true);
});

Deno.test("a segment of no known flow is judged as its sender's", async () => {
  await using lan = new LanRig(2, { policies: [{ allow: ["b.internal:80"] }] });
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, ACK)), true, "to an allowed port");
  lan.frames(0);
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, ACK, [40_000, 81])), false);
  assertEquals(lastTcp(lan.frames(0)), { flags: RST, seq: 1, ack: 0 });
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, RST, [40_000, 81])), false);
  assertEquals(lan.frames(0), [], "a reset is not answered");
});

Deno.test("what no rule can judge passes only where there are none", async () => {
  const [a4, b4] = ["10.77.0.2", "10.77.0.3"];
  const [a6, b6] = ["fd53:4d01::2", "fd53:4d01::3"];
  const long = udp(a4, 5_000, b4, 7, pattern(1_000));
  const inPieces6 = (piece: Uint8Array, offset: number) =>
    fragment6(piece, 17, offset, offset === 0, 5);
  const datagram6 = udp(a6, 5_000, b6, 7, pattern(64));
  for (const rules of [false, true]) {
    const policies = [rules ? { deny: ["c.internal"] } : undefined];
    await using lan = new LanRig(3, { policies });
    const rows: [string, Uint8Array, boolean][] = [
      ["a first fragment", lan.ip4(0, 1, 17, long.slice(0, 512), { fragment: 0x2000 }), true],
      ["a later fragment", lan.ip4(0, 1, 17, long.slice(512), { fragment: 64 }), !rules],
      ["GRE", lan.ip4(0, 1, 47, pattern(40)), !rules],
      ["a timestamp question", lan.ip4(0, 1, 1, icmp4(13, 0, [0, 1, 0, 1], pattern(12))), !rules],
      [
        "options in front",
        lan.ip6(0, 1, 60, Uint8Array.of(17, 0, 1, 4, 0, 0, 0, 0, ...datagram6)),
        !rules,
      ],
      ["a first fragment of IPv6", lan.ip6(0, 1, 44, inPieces6(datagram6.slice(0, 40), 0)), !rules],
      ["a later one", lan.ip6(0, 1, 44, inPieces6(datagram6.slice(40), 40)), !rules],
    ];
    for (const [what, frame, passes] of rows) {
      lan.counted(0);
      assertEquals(
        await comes(lan, 0, 1, frame),
        passes,
        `${what}, ${rules ? "with" : "no"} rules`,
      );
      assertEquals(lan.counted(0), passes ? {} : { "drop.lan.opaque": 1 }, what);
    }
  }
});

Deno.test("groups are judged by their address", async () => {
  const multicast = (lan: LanRig, from: number) => {
    const own = lan.members[from]!.ip4;
    const packet = ip4(udp(own, 5_353, "224.0.0.251", 5_353, pattern(30)), {
      source: own,
      destination: "224.0.0.251",
    });
    return ethernet(packet, { source: lan.members[from]!.mac, destination: "01:00:5e:00:00:fb" });
  };
  const policies = [
    { allow: ["b.internal"] },
    { allow: ["224.0.0.251:5353/udp"] },
    { deny: ["a.internal"] },
  ];
  await using lan = new LanRig(3, { policies });
  assertEquals(await comes(lan, 0, 1, multicast(lan, 0)), false);
  assertEquals(lan.frames(0), [], "nothing is said about a group");
  assertEquals(lan.denials[0]!.map(({ destination, name, hint }) => [destination, name, hint]), [
    ["224.0.0.251:5353", null, 'policy: { allow: ["224.0.0.251:5353/udp"] }'],
  ]);
  assertEquals(await comes(lan, 1, 0, multicast(lan, 1)), true);
  assertEquals(await comes(lan, 2, 0, multicast(lan, 2)), false, "it would reach a, too");
  // Link-local multicast of IPv6, too.
  const own = lan.members[0]!.ip6!;
  const packet = ip6(udp(own, 1, "ff02::fb", 2, NONE), { source: own, destination: "ff02::fb" });
  const frame = ethernet(packet, { source: lan.members[0]!.mac, destination: "33:33:00:00:00:fb" });
  assertEquals(await comes(lan, 0, 1, frame), false);
});

Deno.test("rules that change are put to flows under way", async () => {
  await using lan = new LanRig(2);
  const { network } = lan.guests[0]!;
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN)), true);
  assertEquals(await comes(lan, 1, 0, lan.tcp(1, 0, SYN | ACK, [80, 40_000])), true);
  assertEquals(await comes(lan, 1, 0, lan.tcp(1, 0, SYN, [9_000, 22])), true, "one of b's");
  network.setPolicy(guestPolicy({ allow: ["b.internal:80"] }));
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, ACK)), true, "still allowed");
  network.setPolicy(guestPolicy({ deny: ["b.internal"] }));
  assertEquals(lan.denials[0], [], "nothing was refused yet");
  lan.frames(0);
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, ACK)), false);
  assertEquals(lastTcp(lan.frames(0)).flags, RST);
  assertEquals(lan.denials[0]!.length, 1);
  assertEquals(await comes(lan, 1, 0, lan.tcp(1, 0, ACK, [80, 40_000])), true, "b may go on");
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, ACK)), false, "that begins nothing of b's");
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN | ACK, [22, 9_000])), true, "an answer");
});

Deno.test("a flow that is over, or silent for long, is forgotten", async () => {
  const policies = [undefined, { allow: ["192.0.2.1"] }];
  await using lan = new LanRig(2, { policies });
  const reply = () => comes(lan, 1, 0, lan.tcp(1, 0, ACK, [80, 40_000]));
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN)), true);
  assertEquals(await reply(), true);
  await lan.host.clock.run(3_600_000);
  assertEquals(await reply(), true, "an established flow may be idle");
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, FIN | ACK)), true);
  assertEquals(await comes(lan, 1, 0, lan.tcp(1, 0, FIN | ACK, [80, 40_000])), true);
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, ACK)), true);
  await lan.host.clock.run(11_000);
  assertEquals(await reply(), false, "both have finished");
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN)), true);
  assertEquals(await reply(), true, "the ports are used again");
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, RST)), true);
  await lan.host.clock.run(11_000);
  assertEquals(await reply(), false, "it was reset");
  assertEquals(await comes(lan, 0, 1, lan.udp(0, 1)), true);
  await lan.host.clock.run(31_000);
  assertEquals(await comes(lan, 1, 0, lan.udp(1, 0, [7, 5_000])), false, "no answer for 30 s");
});

Deno.test("by way of the gateway no guest is reached, and nothing is dialled", async () => {
  await using lan = new LanRig(2, {
    guests: [{ guestSubnets: [{ address: Uint8Array.of(100, 96, 0, 6), bits: 30 }] }],
  });
  const rows: [string, number[]][] = [
    ["10.77.0.3", [3, 1]], // a member
    ["10.77.0.99", [3, 1]], // nobody
    ["100.96.0.5", [3, 1]], // the network of another guest
    ["100.96.0.6", [3, 1]],
  ];
  for (const [destination, error] of rows) {
    for (const protocol of ["udp", "icmp"]) {
      lan.counted(0);
      const payload = protocol === "udp"
        ? udp("10.77.0.2", 5_000, destination, 7, pattern(4))
        : icmp4(8, 0, [0, 1, 0, 1], NONE);
      const packet = ip4(payload, {
        source: "10.77.0.2",
        destination,
        protocol: protocol === "udp" ? 17 : 1,
      });
      lan.send(0, ethernet(packet, lan.macs(0, -2)));
      await lan.settle();
      const [answer, ...more] = lan.frames(0);
      assertEquals(more, []);
      assertEquals([...answer!.subarray(34, 36)], error, `${protocol} to ${destination}`);
      assertEquals(lan.counted(0)["drop.lan.routed"], 1);
    }
  }
  const packet = ip6(udp("fd53:4d01::2", 1, "fd53:4d01::3", 2, NONE), {
    source: "fd53:4d01::2",
    destination: "fd53:4d01::3",
  });
  lan.send(0, ethernet(packet, lan.macs(0, -2)));
  await lan.settle();
  assertEquals([...lan.frames(0)[0]!.subarray(54, 56)], [1, 3]);
  assertEquals(lan.frames(1), []);
  assertEquals(lan.guests[0]!.counters["udp.opened"], undefined);
});

Deno.test("names of guests are answered, and what is explained is what happens", async () => {
  await using lan = new LanRig(3, { policies: [{ allow: ["b.internal:5432"] }] });
  const { network } = lan.guests[0]!;
  const ask = (name: string | null, address: number[], port: number) => {
    return network.explain({
      name,
      addresses: address.length === 0 ? [] : [Uint8Array.from(address)],
      port,
      protocol: "tcp",
    });
  };
  assertEquals(ask("b.internal", [], 5_432).allowed, true);
  assertEquals(ask("b.internal", [], 5_432).findings.length, 3, "the name and two addresses");
  assertEquals(ask("c.internal", [], 5_432).allowed, false);
  assertEquals(ask(null, [10, 77, 0, 3], 5_432).allowed, true);
  assertEquals(
    ask(null, [10, 77, 0, 4], 5_432).findings[0]!.detail,
    "no rule names c.internal with tcp port 5432",
  );
  assertEquals(
    ask(null, [10, 77, 0, 99], 5_432).findings[0]!.detail,
    "an address of guests, which nobody has on the host",
  );
});

Deno.test("a deny rule about one address of a guest means all that it has", async () => {
  const policies = [{ deny: ["10.77.0.3"] }];
  await using lan = new LanRig(2, { policies });
  assertEquals(await comes(lan, 0, 1, lan.tcp(0, 1, SYN)), false);
  const own = lan.members[0]!.ip6!;
  const other = lan.members[1]!.ip6!;
  const packet = ip6(udp(own, 1, other, 2, NONE), { source: own, destination: other });
  const { mac: source } = lan.members[0]!;
  const { mac: destination } = lan.members[1]!;
  assertEquals(await comes(lan, 0, 1, ethernet(packet, { source, destination })), false);
});

Deno.test("a datagram flow that rules have ended is nobody's, whatever the other end still sends", async () => {
  await using lan = new LanRig(2);
  const { network } = lan.guests[0]!;
  const ask = () => comes(lan, 0, 1, lan.udp(0, 1, [5_000, 7], [1]));
  const answer = () => comes(lan, 1, 0, lan.udp(1, 0, [7, 5_000], [2]));
  assertEquals([await ask(), await answer()], [true, true]);
  network.setPolicy(guestPolicy({ deny: ["b.internal"] }));
  assertEquals(await ask(), false);
  await answer();
  assertEquals(await ask(), false, "an answer does not make it the other's");
  network.setPolicy(guestPolicy({}));
  assertEquals(await ask(), true, "allowed again");
});
