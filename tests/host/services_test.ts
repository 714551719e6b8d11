/** Names of services at a gateway: resolved by a guest, judged when it dials, gone with a word. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ConfigError, serveVirtioNetwork } from "../../mod.ts";
import { parseGuestNetwork } from "../../lib/config/network.ts";
import { GuestNames } from "../../lib/host/guest_names.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import { attach, QUIET } from "../guests/guests_rig.ts";
import { HostileGuest } from "../hostile/hostile_guest.ts";
import { ethernet, GUEST4, ip4, pattern, udp } from "../support/packets.ts";
import { guestPolicy } from "../support/policy.ts";
import { HOST4 } from "../support/virtual_host.ts";

const ANY_PORT = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;
const ZONE = "fleet.internal";
const WEB = "web.db.fleet.internal";

Deno.test("a service's name is answered by itself, tied to no address, and never asked upstream", async () => {
  await using server = await serveVirtioNetwork(ANY_PORT, {
    dns: {
      upstreams: ["127.0.0.1:1"],
      records: { "alias.corp": { cname: WEB }, "own.fleet.internal": ["10.9.9.9"] },
      zones: { "fleet.internal": "local" },
    },
    policy: { deny: ["secret.db.fleet.internal"] },
  });
  await using guest = await attach(server.endpoint);
  await guest.lease();
  const resolve = (name: string) => guest.resolve(name, "A", { timeoutMs: 30_000 });
  const code = async (name: string) => (await resolve(name)).code;
  assertEquals(await code(WEB), "NXDOMAIN");
  server.setZoneNames(
    ZONE,
    "web.db tcp 8080 - 10.0.0.5\nsecret.db tcp 22 - 10.0.0.5\n",
  );
  const { answers } = await resolve(WEB);
  assertEquals(answers.map(({ ttl, data }) => [ttl, data]), [[1, "10.0.0.5"]]);
  assertEquals(await code("secret.db.fleet.internal"), "REFUSED");
  assertEquals(await code("nobody.db.fleet.internal"), "NXDOMAIN");
  assertEquals(server.pins(), []);
  assertEquals(await code("alias.corp"), "NOERROR");
  assertEquals(await code("own.fleet.internal"), "NOERROR");
  assertEquals(server.pins().map(({ name, address }) => `${name} ${address}`), [
    "alias.corp 10.0.0.5",
    "own.fleet.internal 10.9.9.9",
  ]);
  const dns = server.snapshot().guest!.dns;
  assertEquals([dns.answered, dns.failedNetwork, dns.failedTimeout], [0, 0, 0]);
  server.setZoneNames(ZONE, "");
  assertEquals(await code(WEB), "NXDOMAIN");
});

Deno.test("explain knows a service's places by its name", async () => {
  await using server = await serveVirtioNetwork(ANY_PORT, {
    ...QUIET,
    policy: { allow: [`${WEB}:8080-8090`] },
  });
  server.setZoneNames(ZONE, "web.db tcp 8080 - 10.0.0.5\n");
  await using guest = await attach(server.endpoint);
  await guest.lease();
  assertEquals(server.explain(`${WEB}:8080`).allowed, true);
  assertEquals(server.explain(`${WEB}:8081`).allowed, false);
  assertEquals(server.explain("10.0.0.5:8080").allowed, true);
  assertEquals(server.explain("10.0.0.5:8081").allowed, false);
});

Deno.test("a flow that began before its place had a name ends where that is denied", async () => {
  const names = new GuestNames({
    network: parseGuestNetwork({}),
    dns: {},
    hostLoopback: false,
    hostServices: [],
  });
  const denials: Denial[] = [];
  await using gw = await HostileGuest.start({
    names,
    policy: guestPolicy({ deny: ["*.db.fleet.internal"] }),
    onDenial: (denial) => void denials.push(denial),
  });
  gw.host.listen(HOST4, 8080);
  gw.host.listen(HOST4, 9090);
  gw.host.udp(HOST4, 123, () => {});
  const web = gw.flow({ hostPort: 8080 });
  const other = gw.flow({ hostPort: 9090, guestPort: 50_001 });
  for (const flow of [web, other]) {
    await flow.opens();
  }
  const query = udp(GUEST4, 5_000, HOST4, 123, pattern(10));
  await gw.sends(ethernet(ip4(query, { destination: HOST4 })));
  const live = () => gw.network.flows().map(({ peer }) => peer.split(":").at(-1)).toSorted();
  const say = async (services: string): Promise<void> => {
    names.setZoneNames(ZONE, services);
    gw.network.placesChanged();
    await gw.settle();
  };
  await say(`web.app tcp 8080 - ${HOST4}\n`);
  assertEquals(live(), ["123", "8080", "9090"]);
  await say(`web.db tcp 8080 - ${HOST4}\nntp.db udp 123 - ${HOST4}\n`);
  assertEquals(live(), ["9090"]);
  assertEquals(denials.map(({ name, rule }) => `${name} ${rule}`), [
    `${WEB} *.db.fleet.internal`,
    "ntp.db.fleet.internal *.db.fleet.internal",
  ]);
  gw.forget();
});

Deno.test("a zone that upstreams answer is not taken from them", async () => {
  await using server = await serveVirtioNetwork(ANY_PORT, {
    dns: { upstreams: ["127.0.0.1:1"], zones: { "a.fleet.internal": ["127.0.0.1:1"] } },
  });
  const { problems } = assertThrows(
    () => server.setZoneNames(ZONE, ""),
    ConfigError,
  ) as ConfigError;
  assert(problems[0]!.text.startsWith("a.fleet.internal has upstreams of its own"));
});
