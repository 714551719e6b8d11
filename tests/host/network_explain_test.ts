/** What a network explains is what happens in it. */
import { assert, assertEquals } from "@std/assert";
import { parseTarget } from "../../lib/policy/explain.ts";
import { HostileGuest } from "../hostile/hostile_guest.ts";
import { helloFor, requestFor, SYN } from "../hostile/inspection.ts";
import { Resolver } from "../hostile/resolver.ts";
import { ethernet, GUEST4, ip4, pattern, udp } from "../support/packets.ts";
import { guestPolicy, type PolicySpec } from "../support/policy.ts";
import type { VirtualGatewayOptions } from "../support/virtual_gateway.ts";
import { HOST4 } from "../support/virtual_host.ts";

const INSIDE = "10.0.0.9";

async function start(spec: PolicySpec, options: VirtualGatewayOptions = {}) {
  const gw = await HostileGuest.start({ policy: guestPolicy(spec), ...options });
  const resolver = new Resolver(gw, { "a.example": [HOST4], "b.example": [INSIDE] });
  return { gw, resolver };
}

function explains(gw: HostileGuest, text: string): boolean {
  const target = parseTarget(text);
  assert(typeof target !== "string", text);
  return gw.network.explain(target).allowed;
}

/** Whether the guest's flow gets through: nothing refuses it. */
async function happens(gw: HostileGuest, address: string, port: number, name?: string) {
  const before = gw.network.denials.total;
  const dialed = gw.host.dialed.length;
  gw.host.listen(address, port);
  const guestPort = 30_000 + gw.host.dialed.length + before;
  const flow = gw.flow({ host: address, hostPort: port, guestPort });
  await flow.guest(SYN);
  await gw.run(5);
  if (flow.sent().some(({ flags }) => flags === "S.") && gw.host.dialed.length === dialed) {
    await flow.guest(". 1:1 ack 1");
    flow.says = port === 80 ? requestFor(name ?? address) : helloFor(name ?? address);
    await flow.speaks();
    await gw.run(50);
  }
  const passes = gw.host.dialed.length > dialed && gw.network.denials.total === before;
  await flow.guest("R. 1:1 ack 1");
  await gw.run(6_000);
  gw.forget();
  return passes;
}

Deno.test("explain: what it says of an address is what becomes of a flow to it", async () => {
  for (
    const spec of [
      {},
      { deny: ["private"] },
      { allow: ["public:443"] },
      { protect: "strict" },
      { allow: ["10.0.0.0/8:80", "a.example"] },
    ] satisfies PolicySpec[]
  ) {
    const { gw } = await start(spec);
    await using _gw = gw;
    for (const address of [HOST4, INSIDE, "169.254.169.254", "8.8.8.8"]) {
      for (const port of [80, 443]) {
        const said = explains(gw, `${address}:${port}`);
        const text = `${JSON.stringify(spec)} ${address}:${port}`;
        assertEquals(await happens(gw, address, port), said, text);
      }
    }
  }
});

Deno.test("explain: what it says of a name is what becomes of its lookup and a flow to it", async () => {
  for (
    const spec of [
      {},
      { allow: ["a.example"] },
      { allow: ["*.example:443"] },
      { deny: ["b.example"] },
      { deny: ["a.example:443"] },
      { allow: ["*.example", "private:80"], deny: [`${HOST4}:443`] },
    ] satisfies PolicySpec[]
  ) {
    const { gw, resolver } = await start(spec);
    await using _gw = gw;
    for (const [name, address] of [["a.example", HOST4], ["b.example", INSIDE]] as const) {
      const { addresses } = await resolver.lookUp(name);
      gw.forget();
      for (const port of [80, 443]) {
        const said = explains(gw, `${name}:${port}`);
        const isKnown = addresses.length > 0;
        const passes = isKnown && await happens(gw, address, port, name);
        // An answer that leads nowhere is known only once it is there.
        const text = `${JSON.stringify(spec)} ${name}:${port}`;
        if (isKnown || !said) assertEquals(passes, said, text);
      }
    }
  }
});

Deno.test("explain: UDP is explained as what it is", async () => {
  const { gw, resolver } = await start({ allow: ["a.example:123/udp", "a.example"] });
  await using _gw = gw;
  await resolver.lookUp("a.example");
  gw.forget();
  for (const port of [123, 443, 124]) {
    const said = explains(gw, `${HOST4}:${port}/udp`);
    const data = udp(GUEST4, 5_000, HOST4, port, pattern(10));
    await gw.sends(ethernet(ip4(data, { destination: HOST4 })));
    assertEquals(gw.errors().length === 0, said, `${port}`);
  }
  gw.forget();
  await gw.empties();
});
