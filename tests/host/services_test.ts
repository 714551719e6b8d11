/** Names of services at a gateway: resolved by a guest, judged when it dials, gone with a word. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ConfigError, serveVirtioNetwork } from "../../mod.ts";
import { attach, QUIET } from "../guests/guests_rig.ts";

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
  const code = async (name: string) => (await guest.resolve(name, "A")).code;
  assertEquals(await code(WEB), "NXDOMAIN");
  server.setZoneNames(
    ZONE,
    "web.db tcp 8080 - 10.0.0.5\nsecret.db tcp 22 - 10.0.0.5\n",
  );
  const { answers } = await guest.resolve(WEB, "A");
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
