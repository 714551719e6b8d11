/** What a network explains of the gateway's own places, and what it holds once it has ended. */
import { assert, assertEquals } from "@std/assert";
import { parseTarget } from "../../lib/policy/explain.ts";
import { HostileGuest } from "../hostile/hostile_guest.ts";
import { SYN } from "../hostile/inspection.ts";
import { Resolver } from "../hostile/resolver.ts";
import { GATEWAY4 } from "../support/packets.ts";
import { guestPolicy } from "../support/policy.ts";
import { HOST4, VirtualHost } from "../support/virtual_host.ts";

function explains(gw: HostileGuest, text: string): boolean {
  const target = parseTarget(text);
  assert(typeof target !== "string", text);
  return gw.network.explain(target).allowed;
}

Deno.test("explain: the gateway's own address is explained as what it is", async () => {
  await using gw = await HostileGuest.start({
    policy: guestPolicy({ allow: ["a.example"] }),
    hostLoopback: true,
  });
  gw.host.listen("127.0.0.1", 8080);
  const flow = gw.flow({ host: GATEWAY4, hostPort: 8080 });
  await flow.opens();
  await flow.guest("R 1:1");
  assertEquals(explains(gw, `${GATEWAY4}:8080`), true, "a way that the operator has opened");
});

Deno.test("explain: the gateway's own names are explained as what they are", async () => {
  await using gw = await HostileGuest.start({ policy: guestPolicy({ allow: ["a.example"] }) });
  const resolver = new Resolver(gw, {});
  assertEquals((await resolver.lookUp("gateway.internal")).rcode, "NOERROR");
  const { findings } = gw.network.explain(parseTarget("gateway.internal:8080") as never);
  assertEquals(findings[0]!.allowed, true, "its lookup was answered");
});

Deno.test("explain: sockets of the gateway itself are explained as what they are", async () => {
  const host = new VirtualHost();
  host.ownAddresses.add(HOST4);
  await using gw = await HostileGuest.start({ host, ownPorts: () => new Set([7654]) });
  await gw.flow({ hostPort: 7654 }).guest(SYN);
  assertEquals(gw.errors().map(({ code }) => code), ["3/13"]);
  gw.forget();
  assertEquals(explains(gw, `${HOST4}:7654`), false, "nobody reaches the gateway's own socket");
});

Deno.test("network: names of addresses go with the link, as everything does", async () => {
  const gw = await HostileGuest.start({ policy: guestPolicy({ allow: ["a.example"] }) });
  const resolver = new Resolver(gw, { "a.example": [HOST4] });
  await resolver.lookUp("a.example");
  assertEquals(gw.figures().pins, 1);
  await gw.end();
  assertEquals(gw.figures().pins, 0);
});
