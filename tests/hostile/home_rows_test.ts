/**
 * Rows 49 to 55 where they meet: names that lead home, doors that are denied, flows that outlive
 * their headers.
 */
import { assert, assertEquals } from "@std/assert";
import type { Denial } from "../../lib/policy/denial.ts";
import { ethernet, GATEWAY4, GUEST4, ip4, udp } from "../support/packets.ts";
import { guestPolicy, type PolicySpec } from "../support/policy.ts";
import { HOST4 } from "../support/virtual_host.ts";
import type { VirtualGatewayOptions } from "../support/virtual_gateway.ts";
import { HostileGuest } from "./hostile_guest.ts";
import { SYN } from "./inspection.ts";
import { Resolver, type Zone } from "./resolver.ts";

const OTHER = "151.101.0.223";

async function start(spec: PolicySpec, zone: Zone, options: VirtualGatewayOptions = {}) {
  const denials: Denial[] = [];
  const gw = await HostileGuest.start({
    policy: guestPolicy(spec),
    onDenial: (denial) => void denials.push(denial),
    ...options,
  });
  return { gw, resolver: new Resolver(gw, zone), denials };
}

/** Sends a SYN and gives what was dialled for it. */
async function dialled(gw: HostileGuest, host: string, hostPort: number): Promise<string[]> {
  await gw.flow({ host, hostPort }).guest(SYN);
  await gw.run(5);
  const seen = [...gw.host.dialed];
  gw.cut();
  return seen;
}

Deno.test("hostile 49: a stranger's name does not lead to the host by its public address", async () => {
  const { gw, resolver, denials } = await start(
    { allow: ["evil.example:5432"] },
    { "evil.example": [HOST4] },
  );
  gw.host.ownAddresses.add(HOST4);
  gw.host.listen(HOST4, 5432);
  await resolver.lookUp("evil.example");
  assertEquals(await dialled(gw, HOST4, 5432), []);
  assertEquals(denials.map(({ reason, hint }) => [reason, hint]), [
    ["rebind", `policy: { allow: ["${HOST4}:5432/tcp"] }`],
  ]);
});

Deno.test("hostile 49: nor does it open more of a private network than the rule for its address", async () => {
  const cases: [allow: string[], address: string, port: number][] = [
    [["10.0.0.20:631/tcp", "evil.example"], "10.0.0.20", 80],
    [["private:123/udp", "evil.example:22"], "192.168.1.1", 22],
  ];
  for (const [allow, address, port] of cases) {
    const { gw, resolver, denials } = await start({ allow }, { "evil.example": [address] });
    gw.host.listen(address, port);
    assertEquals((await resolver.lookUp("evil.example")).addresses, [address]);
    assertEquals(await dialled(gw, address, port), [], address);
    assertEquals(denials.map(({ reason }) => reason), ["rebind"]);
  }
});

Deno.test("hostile 49: a name that the operator's own resolver gives does, also where rules change", async () => {
  const zones = { "corp.example": ["10.0.0.53"] };
  const { gw, resolver } = await start(
    { allow: ["db.corp.example:5432"] },
    { "db.corp.example": ["10.0.0.9"] },
    { dns: { upstreams: ["10.0.0.53"], zones } },
  );
  gw.host.listen("10.0.0.9", 5432);
  await resolver.lookUp("db.corp.example");
  const flow = gw.flow({ host: "10.0.0.9", hostPort: 5432 });
  await flow.opens();
  await gw.run(4_000_000); // the pin is long over
  gw.network.setPolicy(guestPolicy({ allow: ["*.corp.example:5432"] }));
  await gw.run(5);
  assertEquals(gw.figures().relays, 1);
  gw.cut();
});

Deno.test("hostile 49: a pin of an open time opens no private address once there are rules", async () => {
  const { gw, resolver } = await start(
    { deny: ["metrics.example"] },
    { "db.evil.example": ["10.0.0.9"] },
  );
  gw.host.listen("10.0.0.9", 5432);
  assertEquals((await resolver.lookUp("db.evil.example")).addresses, ["10.0.0.9"]);
  gw.network.setPolicy(guestPolicy({ allow: ["*.evil.example:5432"] }));
  assertEquals(await dialled(gw, "10.0.0.9", 5432), []);
});

Deno.test("hostile 51: an alias of a name that is denied some ports is denied them too", async () => {
  const { gw, resolver, denials } = await start(
    { allow: ["*.corp.example:5432"], deny: ["secret.corp.example:5432"] },
    { "alias.corp.example": ["-> secret.corp.example"], "secret.corp.example": [HOST4] },
  );
  gw.host.listen(HOST4, 5432);
  await resolver.lookUp("alias.corp.example");
  assertEquals(await dialled(gw, HOST4, 5432), []);
  assertEquals(denials.map(({ rule }) => rule), ["secret.corp.example:5432"]);
});

Deno.test("hostile 52: a deny of the gateway's address or of its names closes the way to the host", async () => {
  const rules = ["100.96.0.1", "host.internal:22", "gateway.internal:22", "100.96.0.1:22/tcp"];
  for (const rule of [...rules, "loopback"]) {
    const { gw, resolver } = await start({ deny: [rule] }, {}, { hostLoopback: true });
    gw.host.listen("127.0.0.1", 22);
    await resolver.lookUp("host.internal");
    await resolver.lookUp("gateway.internal");
    assertEquals(await dialled(gw, GATEWAY4, 22), [], rule);
  }
  // Its address is a private one by chance.
  const { gw } = await start({ deny: ["private"] }, {}, { hostLoopback: true });
  gw.host.listen("127.0.0.1", 22);
  assertEquals(await dialled(gw, GATEWAY4, 22), ["127.0.0.1 22"]);
});

Deno.test("hostile 52: the host's address in an IPv6 one, and its subnet's own address, are the host's", async () => {
  for (const spec of [{ protect: "strict" }, { deny: ["host"] }] as PolicySpec[]) {
    for (const host of ["64:ff9b::5db8:d822", "2606:4700:1:2::"]) {
      const { gw } = await start(spec, {});
      gw.host.ownAddresses.add(HOST4);
      assertEquals(await dialled(gw, host, 22), [], `${JSON.stringify(spec)} ${host}`);
    }
  }
});

Deno.test("hostile 52: what no rule allows has no socket bound to see whose it is", async () => {
  const { gw } = await start({ protect: "strict", allow: ["api.example"] }, {});
  let looks = 0;
  const has = gw.host.ownAddresses.has.bind(gw.host.ownAddresses);
  gw.host.ownAddresses.has = (hostname) => (looks++, has(hostname));
  for (let i = 0; i < 500; i++) {
    const to = `93.184.${i >> 8}.${i & 255}`;
    gw.send(ethernet(ip4(udp(GUEST4, 5300, to, 9, new Uint8Array(1)), { destination: to })));
  }
  await gw.run(50);
  gw.cut();
  assertEquals(looks, 0);
});

/** A guest that has said 30,000 octets to a slow host and is gone, and another flow in its place. */
async function lingering() {
  const gw = await HostileGuest.start({ policy: guestPolicy() });
  gw.host.listen(HOST4, 80, null, { socket: { bufferBytes: 4096 } });
  gw.host.listen(OTHER, 80);
  const flow = gw.flow({ guestPort: 40_000 });
  const peer = await flow.opens();
  for (let at = 1; at < 30_000; at += 1_000) await flow.guest(`. ${at}:${at + 1_000} ack 1`);
  await flow.guest("F. 30001:30001 ack 1");
  await gw.run(10);
  flow.sent();
  await flow.guest("R. 30002:30002 ack 1");
  await gw.run(10);
  await gw.flow({ host: OTHER, guestPort: 40_001 }).opens();
  const taken = async () => {
    let bytes = 0;
    for (let i = 0; i < 40; i++) {
      await gw.run(10);
      bytes += peer.take().length;
    }
    gw.cut();
    return bytes;
  };
  return { gw, taken };
}

Deno.test("hostile 55: last bytes on their way are judged by their own address", async () => {
  const denied = await lingering();
  denied.gw.network.setPolicy(guestPolicy({ deny: [HOST4] }));
  assert(await denied.taken() <= 8_192, "no more than the host's socket held already");
  const other = await lingering();
  other.gw.network.setPolicy(guestPolicy({ deny: [OTHER] }));
  assertEquals(await other.taken(), 30_000, "what the guest was told is there has arrived");
});
