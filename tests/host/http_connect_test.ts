import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { DialFailure } from "../../lib/host/dialer.ts";
import { HEAD_MAX_BYTES } from "../../lib/host/http_connect.ts";
import { dial, OK, Peer, Proxy, reach, readText } from "../support/proxy_rig.ts";

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
