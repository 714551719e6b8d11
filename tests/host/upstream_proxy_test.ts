import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import {
  type Connect,
  connectSilently,
  Dialer,
  type DialFailure,
  type DialLimits,
} from "../../lib/host/dialer.ts";
import { hostSystem } from "../../lib/host/host_system.ts";
import { HEAD_MAX_BYTES } from "../../lib/host/http_connect.ts";
import { proxyConnect } from "../../lib/host/upstream_proxy.ts";

const LIMITS: DialLimits = {
  tcpDials: 4,
  tcpDialsPerDestination: 4,
  tcpDialYieldMs: 3_000,
  tcpDialTimeoutMs: 30_000,
  tcpDialsPerSecond: 1_000_000,
};

const OK = "HTTP/1.1 200 OK\r\n\r\n";
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What a proxy does with one connection. */
type Script = (peer: Peer) => Promise<void>;

/** A connection as the proxy sees it. */
class Peer {
  constructor(readonly conn: Deno.TcpConn) {
    conn.setNoDelay(true);
  }

  async read(bytes: number): Promise<number[]> {
    const into = new Uint8Array(bytes);
    let at = 0;
    while (at < bytes) {
      const count = await this.conn.read(into.subarray(at));
      if (count === null) throw new Error(`The end after ${at} of ${bytes} octets`);
      at += count;
    }
    return [...into];
  }

  /** An HTTP head, with its blank line. */
  async head(): Promise<string> {
    let text = "";
    while (!text.endsWith("\r\n\r\n")) text += String.fromCharCode(...await this.read(1));
    return text;
  }

  async write(data: string | readonly number[]): Promise<void> {
    const bytes = typeof data === "string" ? encoder.encode(data) : Uint8Array.from(data);
    for (let at = 0; at < bytes.length;) at += await this.conn.write(bytes.subarray(at));
  }

  /** Each octet in a segment of its own. */
  async dribble(data: string | readonly number[]): Promise<void> {
    const bytes = typeof data === "string" ? [...encoder.encode(data)] : data;
    for (const octet of bytes) {
      await this.write([octet]);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Whatever comes until the other side closes. */
  async rest(): Promise<number> {
    let bytes = 0;
    const into = new Uint8Array(1_024);
    for (;;) {
      const count = await this.conn.read(into).catch(() => null); // a reset ends it as well
      if (count === null) return bytes;
      bytes += count;
    }
  }
}

/** A proxy on the loopback that runs a script with each connection, and all that is told of it. */
class Proxy implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #script: Script;
  readonly #served: Promise<void>;
  readonly #errors: unknown[] = [];
  connections = 0;
  closed = 0;
  readonly faults: string[] = [];

  constructor(script: Script, hostname = "127.0.0.1") {
    this.#script = script;
    this.#listener = Deno.listen({ hostname, port: 0 });
    this.#served = this.#serve();
  }

  async #serve(): Promise<void> {
    const running: Promise<void>[] = [];
    for await (const conn of this.#listener) running.push(this.#run(conn));
    await Promise.all(running);
  }

  async #run(conn: Deno.TcpConn): Promise<void> {
    this.connections++;
    try {
      const peer = new Peer(conn);
      await this.#script(peer);
      await peer.rest();
    } catch (error) {
      this.#errors.push(error);
    }
    this.closed++;
    try {
      conn.close();
    } catch {
      // The script has done so.
    }
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  url(scheme: "http" | "socks5", credentials = ""): string {
    const { hostname, port } = this.#listener.addr;
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    return `${scheme}://${credentials}${host}:${port}`;
  }

  connect(scheme: "http" | "socks5", credentials = ""): Connect {
    return proxyConnect(this.url(scheme, credentials), connectSilently, ({ message }) => {
      this.faults.push(message.replace(`:${this.port}:`, ":PORT:"));
    });
  }

  /** Ends it once all its connections have been closed by the other side. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#served;
    if (this.#errors.length > 0) throw this.#errors[0];
  }
}

/** Connects to a place by way of a proxy. */
function reach(connect: Connect, hostname = "192.0.2.1", port = 22): Promise<Deno.TcpConn> {
  return connect({ hostname, port, transport: "tcp", signal: new AbortController().signal });
}

/** What a dialer makes of it. */
async function dial(connect: Connect): Promise<DialFailure | "connected"> {
  using dialer = new Dialer(LIMITS, { ...hostSystem, connect });
  return await new Promise((resolve) => {
    dialer.dial({
      hostnames: ["192.0.2.1"],
      port: 22,
      onConnected: (conn) => {
        conn.close();
        resolve("connected");
      },
      onFailed: resolve,
    });
  });
}

/** Everything that a connection brings until its peer has nothing more, as text. */
async function readText(conn: Deno.TcpConn, bytes: number): Promise<string> {
  return decoder.decode(Uint8Array.from(await new Peer(conn).read(bytes)));
}

/** Reads a SOCKS greeting and request without credentials, and gives the request back. */
async function socksRequest(peer: Peer, addressBytes = 4): Promise<number[]> {
  assertEquals(await peer.read(3), [5, 1, 0]);
  await peer.write([5, 0]);
  return await peer.read(6 + addressBytes);
}

const SOCKS_OK = [5, 0, 0, 1, 198, 51, 100, 1, 0x12, 0x34];

Deno.test("http proxy: the request names the literal, and the tunnel is the connection", async () => {
  let request = "";
  await using proxy = new Proxy(async (peer) => {
    request = await peer.head();
    await peer.write(OK);
    await peer.write(await peer.read(4));
  });
  using conn = await reach(proxy.connect("http"));
  await new Peer(conn).write("ping");
  assertEquals(await readText(conn, 4), "ping");
  assertEquals(request, "CONNECT 192.0.2.1:22 HTTP/1.1\r\nHost: 192.0.2.1:22\r\n\r\n");
});

Deno.test("http proxy: an IPv6 address stands in brackets, in canonical form", async () => {
  let request = "";
  await using proxy = new Proxy(async (peer) => {
    request = await peer.head();
    await peer.write(OK);
  }, "::1");
  using _conn = await reach(proxy.connect("http"), "2001:DB8:0::1", 443);
  assertMatch(request, /^CONNECT \[2001:db8::1\]:443 HTTP\/1\.1\r\nHost: \[2001:db8::1\]:443\r\n/);
});

Deno.test("http proxy: Basic credentials are the UTF-8 octets of user and password", async () => {
  let request = "";
  await using proxy = new Proxy(async (peer) => {
    request = await peer.head();
    await peer.write(OK);
  });
  using _conn = await reach(proxy.connect("http", "test:123%C2%A3@"));
  assertMatch(request, /\r\nProxy-Authorization: Basic dGVzdDoxMjPCow==\r\n\r\n$/); // RFC 7617, 2.1
});

Deno.test("http proxy: a banner in the same segment as the answer is not swallowed", async () => {
  const banner = "SSH-2.0-test\r\n\r\n";
  const heads = [
    "HTTP/1.1 200\r\n\r\n",
    OK,
    "HTTP/1.0 200 Connection established\r\nVia: 1.1 p\r\nContent-Length: 1000\r\n\r\n",
    "HTTP/1.1 204 No\r\nX:\r\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
  ];
  for (const head of heads) {
    await using proxy = new Proxy(async (peer) => {
      await peer.head();
      await peer.write(head + banner);
    });
    using conn = await reach(proxy.connect("http"));
    assertEquals(await readText(conn, banner.length), banner, head);
  }
});

Deno.test("http proxy: an answer may come octet by octet", async () => {
  await using proxy = new Proxy(async (peer) => {
    await peer.head();
    await peer.dribble("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbanner");
  });
  using conn = await reach(proxy.connect("http"));
  assertEquals(await readText(conn, 6), "banner");
});

Deno.test("http proxy: what its answers mean for the guest", async () => {
  const cases: [number, DialFailure, string][] = [
    [403, "prohibited", ""],
    [407, "prohibited", "the proxy answered 407: it wants another user and password"],
    [502, "hostUnreachable", ""],
    [503, "hostUnreachable", ""],
    [504, "timeout", ""],
    [302, "refused", ""],
    [400, "refused", ""],
    [404, "refused", ""],
    [500, "refused", ""],
  ];
  for (const [status, failure, fault] of cases) {
    await using proxy = new Proxy(async (peer) => {
      await peer.head();
      await peer.write(`HTTP/1.1 ${status} No\r\nContent-Length: 4\r\n\r\nbody`);
    });
    assertEquals(await dial(proxy.connect("http", "u:wrong@")), failure, `${status}`);
    const faults = fault === "" ? [] : [`by way of http://127.0.0.1:PORT: ${fault}`];
    assertEquals(proxy.faults, faults, `${status}`);
  }
});

Deno.test("http proxy: what is not HTTP is told at once", async () => {
  const answers = [
    "SSH-2.0-OpenSSH_9\r\n",
    "220 mail.example ESMTP\r\n",
    "HTTP/2 200 OK\r\n\r\n12345",
    "HTTP/1.1 OK, fine\r\n\r\n",
    "HTTP/1.\r\n\r\n12345",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "HTTP/1.1 200 OK\n\nbanner",
    "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
  ];
  for (const answer of answers) {
    await using proxy = new Proxy(async (peer) => {
      await peer.head();
      await peer.write(answer);
    });
    assertEquals(await dial(proxy.connect("http")), "refused", answer);
    assertEquals(proxy.faults, [
      "by way of http://127.0.0.1:PORT: what answered at the proxy's port is not HTTP",
    ], answer);
  }
});

Deno.test("http proxy: a head has its limit, interim ones counted", async () => {
  const endless = (once: string) =>
    new Proxy(async (peer) => {
      await peer.head();
      await peer.write("HTTP/1.1 200 OK\r\n");
      // In vain from some time on: the other side has closed.
      for (let i = 0; i < 1_000; i++) await peer.write(once).catch(() => {});
    });
  for (const once of ["x".repeat(64), "A: b\r\n".repeat(8)]) {
    await using proxy = endless(once);
    const error = await assertRejects(() => reach(proxy.connect("http")), Error, "8192 octets");
    assertEquals((error as { code?: string }).code, "ECONNREFUSED");
  }
  await using interim = new Proxy(async (peer) => {
    await peer.head();
    for (let i = 0; i < 1_000; i++) {
      await peer.write("HTTP/1.1 102 Processing\r\n\r\n").catch(() => {});
    }
  });
  await assertRejects(() => reach(interim.connect("http")), Error, "8192 octets");
  const longest = `HTTP/1.1 200 OK\r\nA: ${"x".repeat(HEAD_MAX_BYTES - 24)}\r\n\r\n`;
  assertEquals(longest.length, HEAD_MAX_BYTES);
  await using proxy = new Proxy(async (peer) => {
    await peer.head();
    await peer.write(`${longest}banner`);
  });
  using conn = await reach(proxy.connect("http"));
  assertEquals(await readText(conn, 6), "banner");
});

Deno.test("socks proxy: the request carries the address, and the connection is the host's", async () => {
  let request: number[] = [];
  await using proxy = new Proxy(async (peer) => {
    request = await socksRequest(peer);
    await peer.write(SOCKS_OK);
    await peer.write(await peer.read(4));
  });
  using conn = await reach(proxy.connect("socks5"), "192.0.2.1", 0x1f90);
  await new Peer(conn).write("ping");
  assertEquals(await readText(conn, 4), "ping");
  assertEquals(request, [5, 1, 0, 1, 192, 0, 2, 1, 0x1f, 0x90]);
});

Deno.test("socks proxy: an IPv6 address", async () => {
  let request: number[] = [];
  await using proxy = new Proxy(async (peer) => {
    request = await socksRequest(peer, 16);
    await peer.write([5, 0, 0, 4, ...Array(18).fill(9)]);
  });
  using _conn = await reach(proxy.connect("socks5"), "2001:db8::7", 443);
  const address = [0x20, 1, 0x0d, 0xb8, ...Array(11).fill(0), 7];
  assertEquals(request, [5, 1, 0, 4, ...address, 1, 0xbb]);
});

Deno.test("socks proxy: user and password, if the proxy wants them", async () => {
  for (const wanted of [true, false]) {
    let login: number[] = [];
    await using proxy = new Proxy(async (peer) => {
      assertEquals(await peer.read(4), [5, 2, 0, 2]);
      await peer.write([5, wanted ? 2 : 0]);
      if (wanted) {
        login = await peer.read(3 + 4 + 5);
        await peer.write([1, 0]);
      }
      await peer.read(10);
      await peer.write(SOCKS_OK);
    });
    using _conn = await reach(proxy.connect("socks5", "%C3%BCbe:%70w%3A%40d@"));
    const text = [...encoder.encode("übe")];
    const expected = [1, text.length, ...text, 5, ...encoder.encode("pw:@d")];
    assertEquals(login, wanted ? expected : []);
  }
});

Deno.test("socks proxy: wrong or missing user and password", async () => {
  const cases: [string, Script, string][] = [
    ["u:wrong@", async (peer) => {
      await peer.read(4);
      await peer.write([5, 2]);
      await peer.read(3 + 1 + 5);
      await peer.write([1, 1]);
    }, "the proxy refused user and password"],
    ["u:p@", async (peer) => {
      await peer.read(4);
      await peer.write([5, 0xff]);
    }, "the proxy takes no user and password"],
    ["", async (peer) => {
      await peer.read(3);
      await peer.write([5, 0xff]);
    }, "the proxy wants a user and a password"],
    ["", async (peer) => {
      await peer.read(3);
      await peer.write([5, 2]);
    }, "the proxy wants a user and a password"],
  ];
  for (const [credentials, script, fault] of cases) {
    await using proxy = new Proxy(script);
    assertEquals(await dial(proxy.connect("socks5", credentials)), "prohibited", fault);
    assertEquals(proxy.faults, [`by way of socks5://127.0.0.1:PORT: ${fault}`]);
  }
});

Deno.test("socks proxy: what its replies mean for the guest", async () => {
  const cases: [number, DialFailure][] = [
    [1, "refused"],
    [2, "prohibited"],
    [3, "networkUnreachable"],
    [4, "hostUnreachable"],
    [5, "refused"],
    [6, "timeout"],
    [7, "refused"],
    [8, "networkUnreachable"],
    [99, "refused"],
  ];
  for (const [reply, failure] of cases) {
    await using proxy = new Proxy(async (peer) => {
      await socksRequest(peer);
      await peer.write([5, reply, 0, 1]); // the rest is not waited for
    });
    assertEquals(await dial(proxy.connect("socks5")), failure, `${reply}`);
    assertEquals(proxy.faults.length, reply === 7 ? 1 : 0, `${reply}`);
  }
});

Deno.test("socks proxy: a banner in the same segment is not swallowed, octet by octet or at once", async () => {
  const replies = [
    SOCKS_OK,
    [5, 0, 0, 4, ...Array(18).fill(1)],
    [5, 0, 0, 3, 0, 1, 2],
    [5, 0, 0, 3, 5, ...encoder.encode("proxy"), 1, 2],
    [5, 0, 0, 3, 255, ...Array(257).fill(0x61)],
  ];
  const banner = [...encoder.encode("SSH-2.0")];
  for (const [i, reply] of replies.entries()) {
    await using proxy = new Proxy(async (peer) => {
      await peer.read(3);
      await peer.dribble([5, 0]);
      await peer.read(10);
      if (i % 2 === 0) await peer.write([...reply, ...banner]);
      else await peer.dribble([...reply, ...banner]);
    });
    using conn = await reach(proxy.connect("socks5"));
    assertEquals(await readText(conn, banner.length), "SSH-2.0");
  }
});

Deno.test("socks proxy: what is not SOCKS 5 is told at once", async () => {
  const scripts: Script[] = [
    (peer) => peer.write("HTTP/1.1 400 Bad Request\r\n\r\n"),
    (peer) => peer.write([4, 0]),
    (peer) => peer.write([5, 1]),
    async (peer) => {
      await socksRequest(peer);
      await peer.write([4, 0, 0, 1]);
    },
    async (peer) => {
      await socksRequest(peer);
      await peer.write([5, 0, 0, 9]);
    },
  ];
  for (const script of scripts) {
    await using proxy = new Proxy(script);
    assertEquals(await dial(proxy.connect("socks5")), "refused");
    assertMatch(proxy.faults.join(), /is not SOCKS version 5$/);
  }
});

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
