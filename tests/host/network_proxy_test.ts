/** A guest that wants to talk to the upstream proxy itself. */
import { assertEquals } from "@std/assert";
import type { Denial } from "../../lib/policy/denial.ts";
import type { PolicySpec } from "../support/policy.ts";
import { guestPolicy } from "../support/policy.ts";
import { UpstreamProxy } from "../../lib/host/upstream_proxy.ts";
import { HostileGuest } from "../hostile/hostile_guest.ts";
import { SYN } from "../hostile/inspection.ts";
import { GATEWAY4, GATEWAY6 } from "../support/packets.ts";
import type { VirtualGatewayOptions } from "../support/virtual_gateway.ts";
import { VirtualHost } from "../support/virtual_host.ts";

const PROXY_PORT = 3128;

/** A gateway behind a proxy, and the first lines that the proxy has heard. */
async function start(
  place: string,
  spec: PolicySpec = {},
  options: VirtualGatewayOptions = {},
) {
  const host = new VirtualHost();
  const said: string[] = [];
  host.listen(place, PROXY_PORT, (peer) => {
    peer.onChange = () => {
      if (peer.availableBytes === 0) return;
      said.push(new TextDecoder().decode(peer.take()).split("\r\n")[0]!);
      peer.write(new TextEncoder().encode("HTTP/1.1 200 OK\r\n\r\n"));
    };
  });
  const { connect, canBind } = host;
  const proxy = new UpstreamProxy(`http://${place}:${PROXY_PORT}`, { connect, canBind });
  Object.defineProperty(host, "connect", { value: proxy.connect });
  const denials: Denial[] = [];
  const gw = await HostileGuest.start({
    policy: guestPolicy(spec),
    host,
    isProxied: true,
    isProxy: (hostname, port) => proxy.isProxy(hostname, port),
    onDenial: (denial) => void denials.push(denial),
    ...options,
  });
  return { gw, said, denials };
}

async function assertRefused(
  { gw, said, denials }: Awaited<ReturnType<typeof start>>,
  to: string,
  hostPort: number,
): Promise<void> {
  const flow = gw.flow({ host: to, hostPort });
  await flow.guest(SYN);
  await gw.run(5);
  assertEquals(flow.sent().filter(({ flags }) => flags.includes("S")), [], "no answer but an RST");
  gw.forget();
  assertEquals([said, gw.host.dialed], [[], []]);
  assertEquals(denials.at(-1)?.reason, "own-socket");
}

Deno.test("a guest does not reach the proxy by way of the proxy, whatever is allowed", async () => {
  for (const spec of [{}, { allow: ["10.0.0.3"] }, { protect: "off" }] as PolicySpec[]) {
    const rig = await start("10.0.0.3", spec);
    await using _gw = rig.gw;
    await assertRefused(rig, "10.0.0.3", PROXY_PORT);
  }
});

Deno.test("other ports of the proxy's machine, and other machines, are reached through it", async () => {
  const { gw, said, denials } = await start("10.0.0.3");
  await using _gw = gw;
  for (const [to, hostPort] of [["10.0.0.3", 443], ["10.0.0.4", PROXY_PORT]] as const) {
    const flow = gw.flow({ host: to, hostPort });
    await flow.opens();
    await flow.guest("R 1:1");
    assertEquals(said.splice(0), [`CONNECT ${to}:${hostPort} HTTP/1.1`]);
    gw.forget();
  }
  assertEquals(denials, []);
});

Deno.test("no door to the host's loopback leads a guest to a proxy that is there", async () => {
  const doors: [VirtualGatewayOptions, number][] = [
    [{ hostLoopback: true }, PROXY_PORT],
    [{ hostServices: [{ gatewayPort: 80, hostPort: PROXY_PORT }] }, 80],
  ];
  for (const [options, hostPort] of doors) {
    const rig = await start("127.0.0.1", {}, options);
    await using _gw = rig.gw;
    for (const to of [GATEWAY4, GATEWAY6]) await assertRefused(rig, to, hostPort);
  }
});

Deno.test("a proxy on the host is not reached at the host's other addresses", async () => {
  const rig = await start("127.0.0.1", { protect: "off" });
  await using _gw = rig.gw;
  rig.gw.host.ownAddresses.add("93.184.216.34");
  await assertRefused(rig, "93.184.216.34", PROXY_PORT);
  await assertRefused(rig, "64:ff9b::5db8:d822", PROXY_PORT);
});
