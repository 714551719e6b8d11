import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { connectSilently, type DialFailure } from "../../lib/host/dialer.ts";
import {
  dial,
  OK,
  Peer,
  Proxy,
  proxyConnect,
  reach,
  readText,
  type Script,
  SOCKS_OK,
  socksRequest,
} from "../support/proxy_rig.ts";

Deno.test("a proxy that hangs up in the middle is a failure, not a connection", async () => {
  const scripts: ["http" | "socks5", Script][] = [
    ["http", async (peer) => {
      await peer.head();
      peer.conn.close();
    }],
    ["http", async (peer) => {
      await peer.head();
      await peer.write("HTTP/1.1 200 OK\r\n");
      peer.conn.close();
    }],
    ["socks5", async (peer) => {
      await peer.read(3);
      peer.conn.close();
    }],
    ["socks5", async (peer) => {
      await socksRequest(peer);
      await peer.write(SOCKS_OK.slice(0, 9));
      peer.conn.close();
    }],
  ];
  for (const [scheme, script] of scripts) {
    await using proxy = new Proxy(script);
    assertEquals(await dial(proxy.connect(scheme)), "refused");
    assertMatch(proxy.faults.join(), /closed the connection without an answer$/);
  }
});

Deno.test("a silent proxy is waited for until the signal fires, and the connection is closed", async () => {
  for (const scheme of ["http", "socks5"] as const) {
    const reached = Promise.withResolvers<void>();
    await using proxy = new Proxy(async (peer) => {
      await peer.read(3);
      reached.resolve();
    });
    const abort = new AbortController();
    const { signal } = abort;
    const connect = proxy.connect(scheme);
    const connecting = connect({ hostname: "192.0.2.1", port: 22, transport: "tcp", signal });
    const failed = assertRejects(() => connecting, DOMException);
    await reached.promise;
    assertEquals(proxy.closed, 0);
    abort.abort();
    assertEquals((await failed).name, "AbortError");
    assertEquals(proxy.faults, [], "whoever gives up has no proxy at fault");
  }
});

Deno.test("a signal that fired before, or while the proxy is being reached", async () => {
  await using proxy = new Proxy(() => Promise.resolve());
  const signal = AbortSignal.abort();
  const options = { hostname: "192.0.2.1", port: 22, transport: "tcp", signal } as const;
  await assertRejects(() => proxy.connect("http")(options), DOMException);
  // As a connect that is done when the signal fires.
  const abort = new AbortController();
  const late = proxyConnect(proxy.url("http"), async (to) => {
    const conn = await Deno.connect(to);
    abort.abort();
    return conn;
  });
  await assertRejects(() => late({ ...options, signal: abort.signal }), DOMException);
  assertEquals(proxy.faults, []);
});

Deno.test("a signal that fires after the tunnel is there leaves it alone", async () => {
  await using proxy = new Proxy(async (peer) => {
    await peer.head();
    await peer.write(OK);
    await peer.write(await peer.read(4));
  });
  const abort = new AbortController();
  const { signal } = abort;
  const options = { hostname: "192.0.2.1", port: 22, transport: "tcp", signal } as const;
  using conn = await proxy.connect("http")(options);
  abort.abort();
  await new Peer(conn).write("ping");
  assertEquals(await readText(conn, 4), "ping");
});

Deno.test("a proxy that is not there is a network without a way out", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const faults: string[] = [];
  const url = `http://u:secret@127.0.0.1:${port}`;
  const connect = proxyConnect(url, connectSilently, ({ message }) => faults.push(message));
  assertEquals(await dial(connect), "networkUnreachable");
  assertEquals(faults.length, 1);
  assert(faults[0]!.startsWith(`cannot reach the proxy http://127.0.0.1:${port}: `), faults[0]);
  assert(!faults[0]!.includes("secret"));
});

Deno.test("what the system says of the way to the proxy is passed on", async () => {
  const cases: [string | undefined, DialFailure][] = [
    ["ECONNREFUSED", "networkUnreachable"],
    ["ECONNRESET", "networkUnreachable"],
    [undefined, "networkUnreachable"],
    ["EHOSTUNREACH", "hostUnreachable"],
    ["ETIMEDOUT", "timeout"],
    ["EMFILE", "resources"],
  ];
  for (const [code, failure] of cases) {
    const connect = proxyConnect(
      "socks5://192.0.2.9:1080",
      () => Promise.reject(Object.assign(new Error("no"), { code })),
    );
    assertEquals(await dial(connect), failure, code);
  }
});

Deno.test({
  name: "without the permission to reach the proxy a dial is prohibited, and nothing prompts",
  permissions: { net: ["192.0.2.1"] },
  fn: async () => {
    const faults: string[] = [];
    const connect = proxyConnect(
      "http://proxy.example:3128",
      connectSilently,
      ({ message }) => faults.push(message),
    );
    assertEquals(await dial(connect), "prohibited");
    assertEquals(faults, [
      "cannot reach the proxy http://proxy.example:3128: no net permission for proxy.example:3128",
    ]);
  },
});

Deno.test("the proxy's name is resolved by the host", async () => {
  await using proxy = new Proxy(async (peer) => {
    await peer.head();
    await peer.write(`${OK}banner`);
  });
  const connect = proxyConnect(`http://localhost:${proxy.port}`, connectSilently);
  using conn = await reach(connect);
  assertEquals(await readText(conn, 6), "banner");
});

Deno.test("the host's own loopback is not the proxy's", async () => {
  await using proxy = new Proxy(() => Promise.resolve());
  await using service = new Proxy((peer) => peer.write("service"));
  using conn = await reach(proxy.connect("http"), "127.0.0.1", service.port);
  assertEquals(await readText(conn, 7), "service");
  assertEquals(proxy.connections, 0);
});

Deno.test("a URL that is wrong, and a destination that is a name, are errors", async () => {
  const error = assertThrows(() => proxyConnect("http://h", connectSilently), ConfigError);
  assertEquals(error.message, `upstreamProxy: "http://h": lacks the port, such as :3128`);
  const connect = proxyConnect("http://127.0.0.1:9", connectSilently);
  await assertRejects(() => reach(connect, "example.com"), TypeError, "no literal");
});
