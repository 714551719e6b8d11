/** Pings of the world through a whole network, on virtual time. */
import { assert, assertEquals } from "@std/assert";
import { PING_FLAG } from "../../lib/config/permission_line.ts";
import type { JudgeQuestion, JudgeVerdict } from "../../lib/host/judge_hook.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import { IcmpReason } from "../../lib/stack/icmp_errors.ts";
import { HostileGuest } from "../hostile/hostile_guest.ts";
import { Resolver } from "../hostile/resolver.ts";
import {
  concat,
  ethernet,
  fragment6,
  GATEWAY4,
  GATEWAY6,
  GUEST4,
  GUEST6,
  icmp4,
  icmp6,
  ip4,
  ip6,
  pattern,
  type Read,
} from "../support/packets.ts";
import { guestPolicy, type PolicySpec } from "../support/policy.ts";
import type { VirtualGatewayOptions } from "../support/virtual_gateway.ts";
import { HOST4, HOST6 } from "../support/virtual_host.ts";

const FAMILIES = [4, 6] as const;
const REST = [0x12, 0x34, 0, 7];
const ANSWERED = { kind: "answered" } as const;
const PROHIBITED = { 4: "3/13", 6: "1/1" } as const;
const HOSTS = { 4: HOST4, 6: HOST6 } as const;
const PING_MS = 4_000;

function echo(family: 4 | 6, bytes = 56, more: { to?: string; ttl?: number } = {}): Uint8Array {
  const { to = HOSTS[family], ttl = 64 } = more;
  const data = pattern(bytes, 3);
  return ethernet(
    family === 4
      ? ip4(icmp4(8, 0, REST, data), { destination: to, protocol: 1, ttl })
      : ip6(icmp6(GUEST6, to, 128, 0, REST, data), { destination: to, next: 58, hopLimit: ttl }),
  );
}

/** The reply to such a request, whole. */
function reply(family: 4 | 6, bytes = 56, to: string = HOSTS[family]): Uint8Array {
  return family === 4
    ? icmp4(0, 0, REST, pattern(bytes, 3))
    : icmp6(to, GUEST6, 129, 0, REST, pattern(bytes, 3));
}

async function start(spec: PolicySpec = {}, options: VirtualGatewayOptions = {}) {
  const denials: Denial[] = [];
  const gw = await HostileGuest.start({
    policy: guestPolicy(spec),
    onDenial: (denial) => void denials.push(denial),
    ...options,
  });
  gw.host.mayPing = true;
  return { gw, denials, [Symbol.asyncDispose]: () => gw[Symbol.asyncDispose]() };
}

Deno.test("ping: what the host says has been answered is answered, octet by octet", async () => {
  for (const family of FAMILIES) {
    await using world = await start();
    const { gw } = world;
    gw.host.ping(HOSTS[family], ANSWERED, 20);
    await gw.sends(echo(family));
    gw.silent();
    assertEquals(gw.figures().pings, 1);
    await gw.run(19);
    gw.silent();
    await gw.run(2);
    const [packet, ...more] = gw.packets();
    assertEquals(more, []);
    const { source, destination, payload } = packet as Read;
    assertEquals([source, destination], [HOSTS[family], family === 4 ? GUEST4 : GUEST6]);
    assertEquals(payload, reply(family));
    gw.counts({ "ping.sent": 1, "ping.answered": 1 });
    const [{ to, dataBytes, hops, timeoutMs }] = gw.host.pinged as [typeof gw.host.pinged[0]];
    assertEquals([to, dataBytes, hops, timeoutMs], [HOSTS[family], 56, 63, PING_MS]);
    await gw.empties(0);
  }
});

Deno.test("ping: any size, in fragments both ways", async () => {
  for (const bytes of [0, 1, 1472, 1473, 9_000, 65_507]) {
    await using world = await start();
    const { gw } = world;
    gw.host.ping(HOST4, ANSWERED);
    const message = icmp4(8, 0, REST, pattern(bytes, 3));
    for (let offset = 0; offset < message.length; offset += 1480) {
      const more = offset + 1480 < message.length ? 0x2000 : 0;
      const how = { destination: HOST4, protocol: 1, id: 9, fragment: more | (offset / 8) };
      await gw.sends(ethernet(ip4(message.slice(offset, offset + 1480), how)));
    }
    await gw.settle();
    const frames = gw.packets();
    assertEquals(concat(...frames.map(({ payload }) => payload)), reply(4, bytes));
    assertEquals(gw.host.pinged[0]!.dataBytes, bytes);
    gw.counts({ "ping.sent": 1, "ping.answered": 1 });
  }
  await using world = await start();
  const { gw } = world;
  gw.host.ping(HOST6, ANSWERED);
  const message = icmp6(GUEST6, HOST6, 128, 0, REST, pattern(4_000, 3));
  for (let offset = 0; offset < message.length; offset += 1448) {
    const piece = fragment6(
      message.slice(offset, offset + 1448),
      58,
      offset,
      offset + 1448 < message.length,
      99,
    );
    await gw.sends(ethernet(ip6(piece, { next: 44, destination: HOST6 })));
  }
  await gw.settle();
  const payloads = gw.packets().map(({ payload }) => payload.slice(8));
  assertEquals(concat(...payloads), reply(6, 4_000));
  gw.counts({ "ping.sent": 1, "ping.answered": 1 });
});

Deno.test("ping: silence is silence, until the time is up and after it", async () => {
  await using world = await start();
  const { gw } = world;
  await gw.sends(echo(4), echo(6));
  await gw.run(PING_MS - 2);
  assertEquals([gw.host.pinging, gw.figures().pings], [2, 2]);
  await gw.run(4);
  assertEquals([gw.host.pinging, gw.figures().pings], [0, 0], "killed");
  gw.silent().counts({ "ping.sent": 2 });
  gw.host.ping(HOST4, { kind: "silent" }, 5);
  await gw.sends(echo(4));
  await gw.run(10);
  gw.silent().counts({ "ping.sent": 1 });
});

Deno.test("ping: an error that the host was told becomes the guest's", async () => {
  const rows = [
    [IcmpReason.hostUnreachable, "3/1", "1/3"],
    [IcmpReason.networkUnreachable, "3/0", "1/0"],
    [IcmpReason.adminProhibited, "3/13", "1/1"],
    [IcmpReason.timeExceeded, "11/0", "3/0"],
  ] as const;
  for (const family of FAMILIES) {
    for (const [reason, four, six] of rows) {
      await using world = await start();
      const { gw } = world;
      gw.host.ping(HOSTS[family], { kind: "error", reason });
      const request = echo(family);
      await gw.sends(request);
      await gw.settle();
      const [error, ...more] = gw.errors();
      assertEquals([error!.code, more.length], [family === 4 ? four : six, 0]);
      assertEquals(error!.quote, request.slice(14), "the guest's own packet, whole");
      gw.silent().counts({ "ping.sent": 1, "icmp.errors": 1 });
    }
  }
});

Deno.test("ping: a host that can't ping says so to the operator, and prohibited to the guest", async () => {
  const said: unknown[] = [];
  const logger = {
    debug: () => {},
    info: () => {},
    warn: (message: string, fields: unknown) => void said.push([message, fields]),
    error: (message: string) => void said.push(message),
  };
  await using world = await start({}, { logger });
  const { gw } = world;
  gw.host.ping(HOST4, { kind: "failed", text: "socket: Operation not permitted" });
  await gw.sends(echo(4), echo(4));
  await gw.settle();
  assertEquals(gw.errors().map(({ code }) => code), ["3/13", "3/13"]);
  assertEquals(said, [[
    "a ping of the guest was not sent: the host's ping failed",
    { reason: "socket: Operation not permitted" },
  ]]);
  gw.counts({ "ping.sent": 2, "icmp.errors": 2 });
  said.length = 0;
  await gw.run(60_000);
  gw.host.pingFault = new Deno.errors.NotFound("entity not found");
  await gw.sends(echo(6));
  assertEquals(gw.errors().map(({ code }) => code), ["1/1"]);
  assertEquals(said, [[
    "a ping of the guest was not sent: the host did not run ping",
    { reason: "entity not found", unsaid: 1 },
  ]]);
  await gw.empties(0);
});

Deno.test("ping: a host without processes or descriptors drops them, and sends again later", async () => {
  await using world = await start();
  const { gw } = world;
  gw.host.ping(HOST4, ANSWERED);
  for (const code of ["EAGAIN", "EMFILE", "ENFILE", "ENOMEM"]) {
    gw.host.pingFault = Object.assign(new Error(code), { code });
    await gw.sends(echo(4));
    gw.silent().counts({ "drop.ping": 1 });
    assertEquals(gw.figures().pings, 0);
  }
  gw.host.pingFault = null;
  await gw.run(1_000);
  await gw.sends(echo(4));
  await gw.settle();
  assertEquals(gw.packets().map(({ payload }) => payload), [reply(4)]);
  gw.counts({ "ping.sent": 1, "ping.answered": 1 });
});

Deno.test("ping: without the permission it is prohibited, and the denial names the flag", async () => {
  await using world = await start();
  const { gw, denials } = world;
  gw.host.mayPing = false;
  await gw.sends(echo(4), echo(6));
  assertEquals(gw.errors().map(({ code }) => code), ["3/13", "1/1"]);
  gw.silent().counts({ "drop.icmp": 2, "icmp.errors": 2, "policy.refused": 2 });
  assertEquals(denials.map(({ reason, hint }) => [reason, hint]), [
    ["no-ping", PING_FLAG],
    ["no-ping", PING_FLAG],
  ]);
  const explained = gw.network.explain({
    name: null,
    addresses: [Uint8Array.of(93, 184, 216, 34)],
    port: null,
    protocol: "icmp",
  });
  assertEquals([explained.allowed, explained.findings[0]!.hint], [false, PING_FLAG]);
  gw.host.mayPing = true;
  await gw.sends(echo(4));
  assertEquals(gw.host.pinged.length, 1, "a permission that comes later counts");
  gw.counts({ "ping.sent": 1 });
});

Deno.test("ping: behind an upstream proxy it is prohibited", async () => {
  await using world = await start({}, { isProxied: true });
  const { gw, denials } = world;
  await gw.sends(echo(4), echo(6));
  assertEquals(gw.errors().map(({ code }) => code), ["3/13", "1/1"]);
  assertEquals(denials.map(({ reason, protocol }) => [reason, protocol]), [
    ["proxy", "icmp"],
    ["proxy", "icmp"],
  ]);
  assertEquals(gw.host.pinged, []);
  gw.counts({ "drop.icmp": 2, "icmp.errors": 2, "policy.refused": 2 });
});

Deno.test("ping: rules and protect decide as for any flow", async () => {
  const rows: [PolicySpec, string, boolean][] = [
    [{}, HOST4, true],
    [{}, "10.0.0.9", true],
    [{}, "169.254.169.254", false],
    [{}, "fe80::9", false],
    [{}, "127.0.0.1", false],
    [{}, "::1", false],
    [{}, "::ffff:127.0.0.1", false],
    [{}, "64:ff9b::7f00:1", false],
    [{ protect: "off" }, "127.0.0.1", false],
    [{ protect: "off" }, "169.254.169.254", true],
    [{ protect: "strict" }, "10.0.0.9", false],
    [{ protect: "strict" }, HOST6, true],
    [{ allow: ["public"] }, HOST4, true],
    [{ allow: ["public"] }, "10.0.0.9", false],
    [{ allow: ["public:443"] }, HOST4, false],
    [{ allow: ["public/tcp"] }, HOST4, false],
    [{ allow: [`${HOST4}/icmp`] }, HOST4, true],
    [{ allow: [`${HOST4}/icmp`] }, HOST6, false],
    [{ deny: ["public/icmp"] }, HOST4, false],
    [{ deny: ["public:443"] }, HOST4, true],
    [{ deny: ["host"] }, "10.0.0.1", false],
  ];
  for (const [spec, to, allowed] of rows) {
    await using world = await start(spec);
    const { gw, denials } = world;
    const family = to.includes(":") ? 6 : 4;
    gw.host.ping(to, ANSWERED);
    await gw.sends(echo(family, 56, { to }));
    await gw.settle();
    const why = `${JSON.stringify(spec)} ${to}`;
    if (allowed) {
      assertEquals(gw.packets().map(({ payload }) => payload), [reply(family, 56, to)], why);
      gw.counts({ "ping.sent": 1, "ping.answered": 1 });
    } else {
      assertEquals(gw.errors().map(({ code }) => code), [PROHIBITED[family]], why);
      assertEquals([gw.host.pinged.length, denials.length], [0, 1], why);
      gw.counts({ "drop.icmp": 1, "icmp.errors": 1, "policy.refused": 1 });
    }
  }
});

Deno.test("ping: a rule about a domain opens what was looked up, while the pin holds", async () => {
  await using world = await start({ allow: ["a.example/icmp"] });
  const { gw, denials } = world;
  const resolver = new Resolver(gw, { "a.example": [HOST4], "b.example": [HOST6] });
  gw.host.ping(HOST4, ANSWERED);
  await gw.sends(echo(4));
  assertEquals(gw.errors().map(({ code }) => code), ["3/13"], "before the lookup");
  await resolver.lookUp("a.example");
  gw.forget();
  await gw.sends(echo(4));
  await gw.settle();
  assertEquals(gw.packets().map(({ payload }) => payload), [reply(4)]);
  await gw.sends(echo(6));
  assertEquals(gw.errors().map(({ code }) => code), ["1/1"], "another's address");
  assertEquals(denials.map(({ destination }) => destination), [HOST4, HOST6]);
  await gw.empties(10_000_000);
});

Deno.test("ping: a new policy ends what it does not allow", async () => {
  for (const family of FAMILIES) {
    await using world = await start();
    const { gw, denials } = world;
    const other = family === 4 ? "93.184.216.35" : "2606:2800:220:1::35";
    gw.host.ping(HOSTS[family], ANSWERED, 1_000);
    gw.host.ping(other, ANSWERED, 1_000);
    await gw.sends(echo(family), echo(family, 56, { to: other }));
    await gw.run(10);
    gw.network.setPolicy(guestPolicy({ deny: [HOSTS[family]] }));
    await gw.run(1);
    assertEquals(gw.errors().map(({ code }) => code), [PROHIBITED[family]]);
    assertEquals([denials.length, denials[0]!.reason, gw.host.pinging], [1, "rule", 1]);
    await gw.run(2_000);
    const [packet, ...more] = gw.packets();
    assertEquals([packet!.source, more.length], [other, 0]);
    gw.counts({ "ping.sent": 2, "ping.answered": 1, "icmp.errors": 1, "policy.refused": 1 });
  }
});

Deno.test("ping: whoever hears of a denial may change the rules once more", async () => {
  let changes = 0;
  const { gw } = await start({}, {
    onDenial: () => {
      if (changes++ < 10) gw.network.setPolicy(guestPolicy({ deny: ["public", "private"] }));
    },
  });
  await gw.sends(echo(4), echo(6));
  gw.network.setPolicy(guestPolicy({ deny: ["public"] }));
  await gw.run(1);
  assertEquals(gw.errors().map(({ code }) => code).toSorted(), ["1/1", "3/13"]);
  assertEquals([changes, gw.host.pinging], [2, 0], "each is told once");
  await gw.end();
});

Deno.test("ping: what is under way is killed when the guest leaves, however slowly it dies", async () => {
  for (const kills of [true, false]) {
    const { gw } = await start();
    gw.host.killsPings = kills;
    await gw.sends(...Array(8).fill(echo(4)));
    assertEquals(gw.host.pinging, 8);
    await gw.end(); // which holds it to no child left
  }
});

Deno.test("ping: what is under way is killed at an orderly end", async () => {
  const { gw } = await start();
  gw.host.ping(HOST4, ANSWERED, 100);
  await gw.sends(echo(4));
  const closed = gw.network.close(2_000);
  await gw.run(2_500);
  await closed;
  assertEquals(gw.host.pinging, 0);
  await gw.end();
});

Deno.test("ping: what is under way is killed with its link, and the next link pings anew", async () => {
  await using world = await start({}, { lingerMs: 60_000 });
  const { gw } = world;
  gw.host.ping(HOST4, ANSWERED, 100);
  await gw.sends(echo(4), echo(6));
  assertEquals(gw.host.pinging, 2);
  await gw.lose();
  await gw.run(10);
  assertEquals([gw.network.link, gw.host.pinging], ["detached", 0]);
  await gw.run(1_000);
  assert(await gw.rejoin());
  await gw.sends(echo(4));
  await gw.run(200);
  const replies = gw.taken(({ source, payload }) => source === HOST4 ? payload : null);
  assertEquals(replies, [reply(4)]);
  gw.counts({ "ping.sent": 3, "ping.answered": 1 });
  gw.forget();
});

Deno.test("ping: a child that takes its time to die still counts", async () => {
  await using world = await start();
  const { gw } = world;
  gw.host.killsPings = false;
  await gw.sends(...Array(8).fill(echo(4)));
  await gw.run(PING_MS + 1);
  assertEquals([gw.figures().pings, gw.host.pinging], [8, 8]);
  await gw.sends(echo(4));
  gw.silent().counts({ "ping.sent": 8, "drop.ping": 1 });
  await gw.run(600);
  assertEquals([gw.figures().pings, gw.host.pinging], [0, 0]);
  await gw.sends(echo(4));
  gw.counts({ "ping.sent": 1 });
});

Deno.test("ping: the embedding program is asked, and its word counts", async () => {
  const asked: JudgeQuestion[] = [];
  let says: JudgeVerdict | Promise<JudgeVerdict> = true;
  const judge = (question: JudgeQuestion) => {
    asked.push(question);
    return says;
  };
  await using world = await start({}, { judge });
  const { gw, denials } = world;
  gw.host.ping(HOST4, ANSWERED);
  await gw.sends(echo(4));
  await gw.settle();
  assertEquals(gw.packets().map(({ payload }) => payload), [reply(4)]);
  const { flow, name } = asked[0]!;
  assertEquals([flow, name], [{
    protocol: "icmp",
    address: HOST4,
    port: 0,
    guestAddress: GUEST4,
    guestPort: 0,
  }, null]);
  says = { allow: false, reason: "no pings" };
  await gw.sends(echo(4));
  assertEquals(gw.errors().map(({ code }) => code), ["3/13"]);
  assertEquals([denials.at(-1)!.reason, denials.at(-1)!.detail], ["judge", "no pings"]);
  for (const verdict of [true, false]) {
    const later = Promise.withResolvers<JudgeVerdict>();
    says = later.promise;
    await gw.sends(echo(4));
    gw.silent();
    assertEquals([gw.figures().pings, gw.host.pinging], [1, 0]);
    later.resolve(verdict);
    await gw.run(1);
    if (verdict) assertEquals(gw.packets().map(({ payload }) => payload), [reply(4)]);
    else assertEquals(gw.errors().map(({ code }) => code), ["3/13"]);
  }
  says = new Promise(() => {});
  await gw.sends(echo(4));
  gw.network.setPolicy(guestPolicy({ deny: ["public"] }));
  await gw.run(1);
  assertEquals(gw.errors().map(({ code }) => code), ["3/13"]);
  assert(asked.at(-1)!.signal.aborted);
  assertEquals(gw.figures().pings, 0);
  gw.forget();
});

Deno.test("ping: what the guest may send and get a second holds for pings too", async () => {
  await using world = await start({}, { rate: { flowsPerSecond: 1, flowsBurst: 1 } });
  const { gw } = world;
  await gw.sends(echo(4), echo(4));
  gw.silent().counts({ "ping.sent": 1, "drop.rate.flows": 1 });
});

Deno.test("ping: no other message goes out", async () => {
  await using world = await start();
  const { gw } = world;
  for (const type of [0, 9, 10, 13, 15, 17, 42]) {
    await gw.sends(
      ethernet(ip4(icmp4(type, 0, REST, pattern(9)), { destination: HOST4, protocol: 1 })),
    );
  }
  await gw.sends(ethernet(ip4(icmp4(8, 1, REST, pattern(9)), { destination: HOST4, protocol: 1 })));
  for (const type of [128, 129, 139, 160]) {
    const code = type === 128 ? 1 : 0;
    const message = icmp6(GUEST6, HOST6, type, code, REST, pattern(9));
    await gw.sends(ethernet(ip6(message, { destination: HOST6, next: 58 })));
  }
  gw.forget();
  await gw.sends(echo(4, 56, { ttl: 1 }), echo(6, 56, { ttl: 1 }));
  assertEquals(gw.errors().map(({ code }) => code), ["11/0", "3/0"], "this hop was the last");
  await gw.sends(echo(4, 56, { to: GATEWAY4 }), echo(6, 56, { to: GATEWAY6 }));
  assertEquals(gw.packets().length, 2);
  assertEquals(gw.host.pinged, []);
  gw.forget();
});
