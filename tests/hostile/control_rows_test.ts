/** Rows 56 and 57: the control interface, towards the guest and towards browsers of the machine. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Endpoint } from "../../lib/config/endpoint.ts";
import { serveControl } from "../../lib/control/control_server.ts";
import { ROUTES } from "../../lib/control/routes.ts";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { serveVirtioNetwork } from "../../lib/server.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { connectTo, ControlRig, TOKEN } from "../control/control_rig.ts";
import { tcpPair } from "../support/guest_rig.ts";
import { GATEWAY4, GATEWAY6 } from "../support/packets.ts";

const GUEST_MEMORY = new FrameMemory(64 * 1024 * 1024);
const SERVICE_PORT = 9_999;

/** The host's addresses but for link-local ones. */
async function ownAddresses(): Promise<string[]> {
  const { stdout } = await new Deno.Command("ip", { args: ["-j", "addr"] }).output();
  const interfaces: { addr_info: { local: string }[] }[] = JSON.parse(
    new TextDecoder().decode(stdout),
  );
  return interfaces.flatMap(({ addr_info }) => addr_info.map(({ local }) => local))
    .filter((address) => !address.startsWith("fe80"));
}

Deno.test("hostile 56: no address leads a guest to the control interface, whatever was opened", async () => {
  // No listener has the port, and while the connection is open nobody is given it by chance.
  const kept = await tcpPair();
  const { port } = kept[1].localAddr;
  // All that could open a way, on purpose: the host's loopback, a service at that very port, and
  // rules that allow everything.
  await using gateway = await serveVirtioNetwork(
    { transport: "tcp", hostname: "127.0.0.1", port: 0 },
    {
      dns: { upstreams: ["127.0.0.1:1"], records: { "control.test": ["127.0.0.1", "::1"] } },
      hostLoopback: true,
      hostServices: [{ gatewayPort: SERVICE_PORT, hostPort: port }],
      policy: { protect: "off", allow: ["0.0.0.0/0", "::/0", "loopback", "host", "control.test"] },
    },
  );
  const endpoint: Endpoint = { transport: "tcp", hostname: "127.0.0.1", port };
  await using control = await serveControl(gateway, endpoint, { version: "1", token: TOKEN });
  for (const end of kept) end.close();
  await using guest = EmbeddedGuest.attach(await connectTo(gateway.endpoint), {
    memory: GUEST_MEMORY,
  });
  await guest.lease();
  const own = await ownAddresses();
  const places: [string, number][] = [
    [GATEWAY4, port],
    [GATEWAY4, SERVICE_PORT],
    [GATEWAY6, port],
    [GATEWAY6, SERVICE_PORT],
    ...["127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::ffff:127.0.0.1"].map(
      (address): [string, number] => [address, port],
    ),
    ...own.map((address): [string, number] => [address, port]),
  ];
  for (const [address, to] of places) {
    await assertRejects(() => guest.connect(address, to), GuestError, undefined, address);
  }
  const reasons = new Set(gateway.denials().map(({ denial }) => denial.reason));
  assertEquals([...reasons].filter((reason) => !["own-socket", "protect"].includes(reason)), []);
  assert(reasons.has("own-socket"));
  // The way is really open but for that port.
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = host.accept();
  const flow = await guest.connect(GATEWAY4, host.addr.port);
  (await accepted).close();
  await flow.read(new Uint8Array(1));
  assertEquals(control.connections, 0, "it has not seen anybody");
});

Deno.test("hostile 57: a foreign Host or Origin is 403, even with the token, and does nothing", async () => {
  await using rig = await ControlRig.open({ control: "tcp" });
  const { port } = rig.control.endpoint as Endpoint & { transport: "tcp" };
  const before = rig.gateway.policy;
  const put = (headers: Record<string, string>) =>
    rig.ask("PUT", "/v1/policy", { headers, body: `{"protect":"off"}` });
  const own = `127.0.0.1:${port}`;
  const foreign: Record<string, string>[] = [
    ...[
      "evil.example",
      `evil.example:${port}`,
      `127.0.0.1:${port + 1}`,
      "127.0.0.1",
      "localhost",
      `127.0.0.1:${port}.evil.example`,
      `127.0.0.1:${port}@evil.example`,
      `0.0.0.0:${port}`,
      `127.1:${port}`,
      `2130706433:${port}`,
      `localhost.:${port}`,
      `[::ffff:127.0.0.1]:${port}`,
    ].map((host) => ({ Host: host })),
    ...[
      "http://evil.example",
      "null",
      `https://${own}`,
      `http://localhost:${port}`,
      `http://127.0.0.1:${port + 1}`,
      `http://${own}.evil.example`,
      `http://${own}/`,
    ].map((origin) => ({ Origin: origin })),
    ...["cross-site", "same-site", "nonsense"].map((site) => ({ "Sec-Fetch-Site": site })),
    { Host: "evil.example", Origin: "http://evil.example", "Sec-Fetch-Site": "same-origin" },
  ];
  for (const headers of foreign) {
    const { status, text, headers: answered } = await put(headers);
    assertEquals([status, JSON.parse(text).error.code], [403, "forbidden"], text);
    assertEquals(answered.get("access-control-allow-origin"), null);
    const read = await rig.ask("GET", "/healthz", { headers });
    assertEquals(read.status, 403, "nor is anything to be read");
  }
  assertEquals(rig.gateway.policy, before);
  const preflight = await rig.ask("OPTIONS", "/v1/policy", {
    headers: { Origin: "http://evil.example", "Access-Control-Request-Method": "PUT" },
  });
  assertEquals(preflight.status, 403);
  const ours: Record<string, string>[] = [
    {},
    { Host: `LOCALHOST:${port}` },
    { Host: `[::1]:${port}` },
    { Origin: `http://${own}`, "Sec-Fetch-Site": "same-origin" },
    { "Sec-Fetch-Site": "none" },
  ];
  for (const headers of ours) assertEquals((await put(headers)).status, 200);
});

Deno.test("hostile 57: what a page may send unasked, a form's text/plain, is 415 and does nothing", async () => {
  for (const control of ["unix", "tcp"] as const) {
    await using rig = await ControlRig.open({ control });
    const before = rig.gateway.policy;
    const types = [
      "",
      "text/plain",
      "text/plain; application/json",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=application/json",
      "application/jsonp",
      "application/json, text/plain",
      "text/json",
    ];
    for (const type of types) {
      const body = `{"protect":"off"}`;
      const options = { headers: { "Content-Type": type }, body };
      assertEquals((await rig.ask("PUT", "/v1/policy", options)).status, 415, type);
      assertEquals((await rig.ask("POST", "/v1/explain", options)).status, 415, type);
    }
    assertEquals(rig.gateway.policy, before);
  }
});

Deno.test("hostile 57: over TCP all but health needs the 256-bit token", async () => {
  await using rig = await ControlRig.open({ control: "tcp" });
  const before = rig.gateway.policy;
  const wrong = [
    "",
    "Bearer",
    "Bearer ",
    `Basic ${TOKEN}`,
    TOKEN,
    `Bearer ${TOKEN}0`,
    `Bearer ${TOKEN.slice(1)}`,
    `Bearer ${TOKEN.slice(0, -1)}`,
    `Bearer ${TOKEN[0]}`,
    `Bearer ${TOKEN.slice(0, -1)}e`,
    `Bearer ${TOKEN.toUpperCase()}`,
    `Bearer ${TOKEN} ${TOKEN}`,
  ];
  for (const Authorization of wrong) {
    for (const { method, path, takes, isOpen } of ROUTES) {
      const body = takes === undefined ? "" : `{"protect":"off"}`;
      const { status, text, headers } = await rig.ask(method, path, {
        headers: { Authorization },
        body,
      });
      assertEquals(status, isOpen ? 200 : 401, `${method} ${path} ${Authorization}`);
      if (isOpen) continue;
      assertEquals(JSON.parse(text).error.code, "unauthorized");
      assertEquals(headers.get("www-authenticate"), `Bearer realm="virtio-gateway"`);
    }
  }
  assertEquals(rig.gateway.policy, before);
});

Deno.test("hostile 57: a unix socket is its user's alone, and no browser's", async () => {
  await using rig = await ControlRig.open();
  const { path } = rig.control.endpoint as Endpoint & { transport: "unix" };
  assertEquals((await Deno.lstat(path)).mode! & 0o777, 0o600);
  const browsers: Record<string, string>[] = [
    { Origin: "http://localhost" },
    { Origin: "null" },
    { "Sec-Fetch-Site": "same-origin" },
    { "Sec-Fetch-Site": "none" },
  ];
  for (const headers of browsers) {
    assertEquals((await rig.ask("GET", "/v1/status", { headers })).status, 403);
  }
  for (const host of ["localhost", "unix", "gateway"]) {
    assertEquals((await rig.ask("GET", "/v1/status", { headers: { Host: host } })).status, 200);
  }
});
