import { assert, assertEquals, assertFalse } from "@std/assert";
import fc from "fast-check";
import { maskProxyUrl, parseProxyUrl } from "../../lib/config/proxy_url.ts";

const NAME200 = Array(4).fill("a".repeat(63)).join(".");

Deno.test("a proxy is a scheme, a host and a port", () => {
  const cases: [string, "http" | "socks5", string, number][] = [
    ["http://127.0.0.1:3128", "http", "127.0.0.1", 3128],
    ["http://proxy.example:80", "http", "proxy.example", 80],
    ["http://Proxy.Example.:80/", "http", "proxy.example", 80],
    ["socks5://localhost:1080", "socks5", "localhost", 1080],
    ["SOCKS5://[0:0::1]:1080", "socks5", "::1", 1080],
    ["socks5://my_proxy:1", "socks5", "my_proxy", 1],
  ];
  for (const [text, scheme, hostname, port] of cases) {
    assertEquals(parseProxyUrl(text), { scheme, hostname, port, credentials: null }, text);
  }
});

Deno.test("user and password are what stands before the last @", () => {
  const cases: [string, string, string][] = [
    ["http://u:p@h:1", "u", "p"],
    ["http://u@h:1", "u", ""],
    ["http://:token@h:1", "", "token"],
    ["http://u:a:b@h:1", "u", "a:b"],
    ["http://u:p@ss/wo?rd#@h:1", "u", "p@ss/wo?rd#"],
    ["http://us%20er:%C3%BC%40%25@h:1", "us er", "ü@%"],
    ["socks5://us%3Aer:p@h:1", "us:er", "p"],
  ];
  for (const [text, user, password] of cases) {
    const proxy = parseProxyUrl(text);
    assert(typeof proxy !== "string", text);
    assertEquals(proxy.credentials, { user, password }, text);
    assertEquals([proxy.hostname, proxy.port], ["h", 1], text);
  }
});

Deno.test("a bad URL says what is wrong with it, and no word of user and password", () => {
  const write = "write http://HOST:PORT or socks5://HOST:PORT";
  const cases: [string, string][] = [
    ["", `"": is not a proxy; ${write}`],
    ["h:3128", `"h:3128": is not a proxy; ${write}`],
    ["secret:secret@h:3128", `"***@h:3128": is not a proxy; ${write}`],
    ["ftp://secret@h:21", `"ftp://***@h:21": is not a proxy; ${write}`],
    ["constructor://h:21", `"constructor://h:21": is not a proxy; ${write}`],
    ["https://h:3128", `"https://h:3128": TLS to the proxy is not spoken; ${write}`],
    [
      "socks5h://h:1080",
      `"socks5h://h:1080": the proxy is given addresses and no names; write socks5://`,
    ],
    [
      "socks4://h:1080",
      `"socks4://h:1080": only SOCKS version 5 is spoken; write socks5://`,
    ],
    ["http://h", `"http://h": lacks the port, such as :3128`],
    ["http://secret:1@h", `"http://***@h": lacks the port, such as :3128`],
    ["http://h:", `"http://h:": "" is not a port from 1 to 65535`],
    ["http://h:0", `"http://h:0": "0" is not a port from 1 to 65535`],
    ["http://h:65536", `"http://h:65536": "65536" is not a port from 1 to 65535`],
    ["http://h:80/path", `"http://h:80/path": nothing may follow the port`],
    ["http://h:80?q", `"http://h:80?q": nothing may follow the port`],
    ["http://:80", `"http://:80": "" is no address or name of a host`],
    ["http://127.1:80", `"http://127.1:80": "127.1" is no address or name of a host`],
    ["http://0x7f:80", `"http://0x7f:80": "0x7f" is no address or name of a host`],
    ["http://a..b:80", `"http://a..b:80": "a..b" is no address or name of a host`],
    ["http://-a:80", `"http://-a:80": "-a" is no address or name of a host`],
    ["http://bücher:80", `"http://bücher:80": "bücher" is no address or name of a host`],
    [
      "http://[127.0.0.1]:80",
      `"http://[127.0.0.1]:80": "127.0.0.1" is no address or name of a host`,
    ],
    ["http://::1:80", `"http://::1:80": an IPv6 address stands in brackets, such as [::1]:3128`],
    [
      "http://a:%zz@h:1",
      `"http://***@h:1": user or password has a % that begins no octet; write %25 for %`,
    ],
    ["http://a:%0a@h:1", `"http://***@h:1": user or password has a control character`],
    ["http://a%3ab:c@h:1", `"http://***@h:1": a user has no colon (RFC 7617)`],
    ["http://@h:1", `"http://***@h:1": user and password are empty; leave out the @`],
    [
      "socks5://a@h:1",
      `"socks5://***@h:1": user and password have 1 to 255 octets each (RFC 1929)`,
    ],
    [
      `socks5://a:${"ü".repeat(128)}@h:1`,
      `"socks5://***@h:1": user and password have 1 to 255 octets each (RFC 1929)`,
    ],
    [
      `http://${NAME200}:80`,
      `"http://${NAME200}:80": "${NAME200}" is no address or name of a host`,
    ],
    [`http://${"a".repeat(2_048)}`, "has more than 2048 characters"],
  ];
  for (const [text, wrong] of cases) assertEquals(parseProxyUrl(text), wrong, text);
});

Deno.test("what is for the log has no user and no password", () => {
  assertEquals(maskProxyUrl("http://u:p@h:1"), "http://***@h:1");
  assertEquals(maskProxyUrl("http://u:p@ss@h:1"), "http://***@h:1");
  assertEquals(maskProxyUrl("http://u:p\n@h:1"), "http://***@h:1");
  assertEquals(maskProxyUrl("u:p@h:1"), "***@h:1");
  assertEquals(maskProxyUrl("socks5://h:1"), "socks5://h:1");
});

Deno.test("whatever user and password are, they come back, and never with an error", () => {
  const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })
    .filter((value) =>
      value.isWellFormed() && ![...value].some((char) => char < " " || char === "\x7f")
    );
  fc.assert(fc.property(text, text, (user, password) => {
    const encoded = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
    const proxy = parseProxyUrl(`socks5://${encoded}@[2001:db8::1]:1080`);
    assertEquals(proxy, {
      scheme: "socks5",
      hostname: "2001:db8::1",
      port: 1080,
      credentials: { user, password },
    });
  }));
  fc.assert(fc.property(fc.string(), fc.string(), (user, place) => {
    const secret = `s3cr3t${user}`;
    const parsed = parseProxyUrl(`http://${secret}:x@${place.replaceAll("s3cr3t", "")}`);
    if (typeof parsed === "string") assertFalse(parsed.includes("s3cr3t"), parsed);
  }));
});
