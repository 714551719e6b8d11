/** Published ports over the control interface. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import type { PortMapping } from "../../lib/config/options.ts";
import { PUBLISHED_MAX } from "../../lib/config/port_spec.ts";
import { permissionError } from "../../lib/host/permissions.ts";
import { pattern } from "../support/packets.ts";
import { ControlRig } from "./control_rig.ts";

const LOOPBACK = ["127.0.0.1"];

async function failure(promise: Promise<unknown>): Promise<[code: string, text: string]> {
  const { code, message, hint } = await assertRejects(() => promise, GatewayError) as GatewayError;
  return [code, hint === "" ? message : `${message}. ${hint}`];
}

Deno.test("a port is published, leads to the guest, and is taken back", async () => {
  await using rig = await ControlRig.open();
  const { client } = rig;
  assertEquals(await client.published(), []);
  const published = await client.publish({ hostPort: 0, guestPort: 80 });
  const { hostPort } = published[0]!;
  assertEquals(published, await client.published());
  assertEquals(published[0], { protocol: "tcp", bind: "127.0.0.1", hostPort, guestPort: 80 });
  assertEquals((await client.status()).published, published);
  const guest = await rig.attach();
  guest.listen(80, (connection) => {
    void connection.write(pattern(7)).then(() => connection.finish());
  });
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: hostPort });
  assertEquals(await conn.read(new Uint8Array(100)), 7);
  assertEquals(await client.unpublish(hostPort), published);
  assertEquals([await client.published(), await client.unpublish(hostPort)], [[], []]);
  await assertRejects(() => Deno.connect({ hostname: "127.0.0.1", port: hostPort }));
  await guest.close();
});

Deno.test("one address of a port is taken back, however it is written", async () => {
  await using rig = await ControlRig.open();
  const { client } = rig;
  const [first] = await client.publish({ hostPort: 0, guestPort: 80, bind: LOOPBACK });
  const { hostPort } = first!;
  const mapping = { hostPort, guestPort: 80, bind: ["127.0.0.2"] };
  assertEquals(await client.publish(mapping), [{ ...first!, bind: "127.0.0.2" }]);
  assertEquals(await client.unpublish(hostPort, "127.0.0.3"), []);
  assertEquals(await client.unpublish(hostPort, "127.0.0.2"), [{ ...first!, bind: "127.0.0.2" }]);
  assertEquals(await client.published(), [first!]);
  const six = await client.publish({ hostPort: 0, guestPort: 80, bind: ["0:0::1"] })
    .catch(() => null);
  if (six === null) return; // a host without IPv6
  assertEquals(six[0]!.bind, "::1");
  assertEquals(await client.unpublish(six[0]!.hostPort, "[0::0:1]"), six);
});

Deno.test("a port that is taken, wrong or not there is said to be so, and nothing is bound", async () => {
  await using rig = await ControlRig.open();
  const { client } = rig;
  using taken = Deno.listen({ hostname: "127.0.0.2", port: 0 });
  const { port } = taken.addr;
  // The first is an address of its own: any port of the usual one may be that of another test.
  const bind = ["127.0.0.79", "127.0.0.2"];
  assertEquals(await failure(client.publish({ hostPort: port, guestPort: 80, bind })), [
    "control",
    `cannot publish 127.0.0.2:${port}: the address is in use. ` +
    "Choose another port of the host; 0 picks a free one",
  ]);
  assertEquals(await client.published(), []);
  const wrong: [body: unknown, message: RegExp][] = [
    [{ hostPort: 0, guestPort: 0 }, /^guestPort: is not a port from 1 to 65535$/],
    [{ hostPort: 65_536, guestPort: 1 }, /^hostPort: is not a port from 0 to 65535$/],
    [{ hostPort: "80", guestPort: 80 }, /^hostPort: is not a whole number$/],
    [{ hostPort: 80 }, /^guestPort: is not a whole number$/],
    [{ hostPort: 1.5, guestPort: 80 }, /^hostPort: is not a whole number$/],
    [{ hostPort: 0, guestPort: 80, bind: "::1" }, /^bind.*is not a list$/],
    [{ hostPort: 0, guestPort: 80, bind: ["a.test"] }, /^bind\[0\]/],
    [{ hostPort: 0, guestPort: 80, bind: [7] }, /^bind\[0\]/],
    [{ hostPort: 0, guestPort: 80, bind: [] }, /names no address/],
    [{ hostPort: 0, guestPort: 80, allowFrom: ["nobody"] }, /^allowFrom\[0\]/],
    [{ hostPort: 0, guestPort: 80, allow: [] }, /^allow: unknown key "allow"/],
    [[], /^the body is no mapping of a port$/],
    [null, /^the body is no mapping of a port$/],
    ["8080:80", /^the body is no mapping of a port$/],
  ];
  for (const [body, message] of wrong) {
    const answer = await rig.ask("POST", "/v1/ports", { body: JSON.stringify(body) });
    assertEquals(answer.status, 422, JSON.stringify(body));
    assertMatch(JSON.parse(answer.text).error.message, message);
  }
  assertEquals(await client.published(), []);
  for (const target of ["/v1/ports/0", "/v1/ports/x", "/v1/ports/65536", "/v1/ports/1?bind=a"]) {
    assertEquals((await rig.ask("DELETE", target)).status, 422, target);
  }
  const absent = await rig.ask("DELETE", `/v1/ports/${port}`);
  assertEquals([absent.status, JSON.parse(absent.text).error.code], [404, "absent"]);
});

Deno.test("an absent place is said with those that are published, not with all of very many", async () => {
  await using rig = await ControlRig.open();
  for (let i = 0; i < 10; i++) {
    await rig.client.publish({ hostPort: 0, guestPort: 80, bind: LOOPBACK });
  }
  const { text } = await rig.ask("DELETE", "/v1/ports/1?bind=127.0.0.9");
  const { message, hint } = JSON.parse(text).error;
  assertEquals(message, "nothing is published on 127.0.0.9:1");
  assertMatch(hint, /^Published: (127\.0\.0\.1:\d+, ){7}127\.0\.0\.1:\d+ and 2 more$/);
});

Deno.test("what the gateway may not bind is a matter of its start, not of who asks", async () => {
  await using rig = await ControlRig.open();
  const publish = () => rig.client.publish({ hostPort: 80, guestPort: 80 });
  rig.gateway.publish = () => {
    throw permissionError("publish 127.0.0.1:80", "--allow-net=127.0.0.1:80");
  };
  assertEquals(await failure(publish()), [
    "control",
    "cannot publish 127.0.0.1:80: Deno has no permission for it. " +
    "Add --allow-net=127.0.0.1:80 where the gateway is started",
  ]);
  rig.gateway.publish = () => {
    throw new GatewayError("permission", "cannot publish 127.0.0.1:80: permission denied", {
      hint: "Ports below 1024 belong to root; try -p 8080:80",
      cause: new Deno.errors.PermissionDenied(),
    });
  };
  assertEquals(await failure(publish()), [
    "control",
    "cannot publish 127.0.0.1:80: permission denied. " +
    "Ports below 1024 belong to root; choose another port of the host",
  ]);
});

Deno.test("who may connect is kept with a port", async () => {
  await using rig = await ControlRig.open();
  const guest = await rig.attach();
  const mapping: PortMapping = { hostPort: 0, guestPort: 80, bind: LOOPBACK };
  const [port] = await rig.client.publish({ ...mapping, allowFrom: ["10.0.0.0/8"] });
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: port!.hostPort });
  assertEquals(await conn.read(new Uint8Array(1)).catch(() => null), null);
  assertEquals((await rig.client.denials())[0]!.denial.reason, "source");
  await guest.close();
});

Deno.test("ports are bounded in number", async () => {
  await using rig = await ControlRig.open();
  const published = Array.from({ length: PUBLISHED_MAX }, (_, i) => {
    return { bind: "127.0.0.1", hostPort: 10_000 + i, guestPort: 80 };
  });
  Object.defineProperty(rig.gateway, "published", { get: () => published });
  assertEquals(await failure(rig.client.publish({ hostPort: 0, guestPort: 80 })), [
    "config",
    `at most ${PUBLISHED_MAX} ports can be published`,
  ]);
});
