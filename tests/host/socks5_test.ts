import { assertEquals, assertMatch } from "@std/assert";
import type { DialFailure } from "../../lib/host/dialer.ts";
import {
  dial,
  encoder,
  Peer,
  Proxy,
  reach,
  readText,
  type Script,
  SOCKS_OK,
  socksRequest,
} from "../support/proxy_rig.ts";

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
