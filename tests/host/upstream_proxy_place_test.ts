/** Where an upstream proxy listens, so that no guest is led to it. */
import { assertEquals, assertRejects } from "@std/assert";
import { connectSilently } from "../../lib/host/dialer.ts";
import { UpstreamProxy } from "../../lib/host/upstream_proxy.ts";
import { Proxy, reach } from "../support/proxy_rig.ts";

const OWN = "198.51.100.5";

/** A proxy whose name has led to these addresses, from one of the host's. */
async function meet(url: string, met: readonly string[], local = OWN): Promise<UpstreamProxy> {
  const left = [...met];
  const proxy = new UpstreamProxy(url, {
    canBind: (hostname) => hostname === OWN,
    connect: () => {
      const remoteAddr = { transport: "tcp", hostname: left.shift()!, port: 3128 };
      const localAddr = { transport: "tcp", hostname: local, port: 40_000 };
      const read = () => Promise.resolve(null); // it hangs up
      const write = (data: Uint8Array) => Promise.resolve(data.length);
      return Promise.resolve({ remoteAddr, localAddr, read, write, close() {} } as never);
    },
  });
  for (const _ of met) await assertRejects(() => reach(proxy.connect));
  return proxy;
}

function assertPlaces(proxy: UpstreamProxy, are: readonly string[], areNot: readonly string[]) {
  for (const place of are) assertEquals(proxy.isProxy(place, 3128), true, place);
  for (const place of areNot) assertEquals(proxy.isProxy(place, 3128), false, place);
  for (const place of are) assertEquals(proxy.isProxy(place, 3129), false, `${place}, other port`);
}

Deno.test("a proxy is at its literal, in each form that leads there", async () => {
  assertPlaces(
    await meet("http://93.184.216.34:3128", []),
    ["93.184.216.34", "64:ff9b::5db8:d822", "2002:5db8:d822::1"],
    ["93.184.216.35", "127.0.0.1", "::1", OWN],
  );
  assertPlaces(
    await meet("socks5://[2001:DB8:0::9]:3128", []),
    ["2001:db8::9", "2001:db8:0:0:0:0:0:9"],
    ["2001:db8::8", "::1"],
  );
});

Deno.test("a proxy is at every address that its name has led to", async () => {
  const met = ["10.0.0.3", "10.0.0.4", "fd00::3", "10.0.0.3"];
  assertPlaces(await meet("http://proxy.example:3128", met), met, ["10.0.0.5", "127.0.0.1", OWN]);
  assertPlaces(await meet("http://proxy.example:3128", []), [], met);
});

Deno.test("of a proxy whose addresses never end the latest are remembered", async () => {
  const met = Array.from({ length: 1_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
  const proxy = await meet("http://proxy.example:3128", met);
  assertPlaces(proxy, met.slice(-256), met.slice(0, -256));
});

Deno.test("a proxy on this host is at each address of the host", async () => {
  const here = ["127.0.0.1", "127.0.0.2", "::1", OWN];
  const elsewhere = ["93.184.216.34", "10.0.0.3"];
  for (const place of ["127.0.0.1", "[::1]", "localhost", "proxy.localhost", OWN]) {
    assertPlaces(await meet(`http://${place}:3128`, []), here, elsewhere);
  }
  // A name shows it when it is met: at the loopback, or from its own address.
  const byName = "http://proxy.example:3128";
  assertPlaces(await meet(byName, ["127.0.0.1"], "127.0.0.1"), here, elsewhere);
  assertPlaces(await meet(byName, ["198.51.100.6"], "198.51.100.6"), here, elsewhere);
});

Deno.test("what the system can't say of an address is taken for the host's", () => {
  const options = { connect: connectSilently, canBind: () => null };
  const proxy = new UpstreamProxy("http://127.0.0.1:3128", options);
  assertEquals(proxy.isProxy("192.0.2.1", 3128), true);
});

Deno.test("a connect that meets the proxy where it was to lead asks it for nothing", async () => {
  for (const scheme of ["http", "socks5"] as const) {
    const asked = Promise.withResolvers<number | null>();
    await using proxy = new Proxy(async (peer) => {
      asked.resolve(await peer.conn.read(new Uint8Array(1)));
    });
    const { port } = proxy;
    const way = new UpstreamProxy(`${scheme}://name.example:${port}`, {
      connect: (options) => connectSilently({ ...options, hostname: "127.0.0.1" }),
      canBind: (hostname) => hostname === "192.0.2.7",
    });
    assertEquals(way.isProxy("192.0.2.7", port), false, "not known yet");
    const failed = await assertRejects(
      () => reach(way.connect, "192.0.2.7", port),
      Deno.errors.PermissionDenied,
      "itself is no place for a guest",
    );
    assertEquals((failed as { code?: string }).code, "EACCES");
    assertEquals(way.isProxy("192.0.2.7", port), true);
    assertEquals(await asked.promise, null);
  }
});
