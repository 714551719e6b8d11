import { assert, assertEquals, assertMatch } from "@std/assert";
import { formatUpstreamSpec, parseUpstreamUrl } from "../../lib/config/upstream_spec.ts";

const tls = (hostname: string, port: number, serverName: string) => ({
  kind: "tls" as const,
  hostname,
  port,
  serverName,
});

const plain = (hostname: string, port: number) => ({ kind: "plain" as const, hostname, port });

const https = (hostname: string, port: number, url: string) => ({
  kind: "https" as const,
  hostname,
  port,
  url,
});

Deno.test("parseUpstreamUrl() reads every kind, and its canonical text reads back", () => {
  const cases = [
    ["system", { kind: "system" as const }, "system"],
    ["1.1.1.1", plain("1.1.1.1", 53), "1.1.1.1:53"],
    ["[2606:4700:4700:0::1111]:5353", plain("2606:4700:4700::1111", 5353)],
    ["2606:4700:4700::1111", plain("2606:4700:4700::1111", 53), "[2606:4700:4700::1111]:53"],
    ["::ffff:9.9.9.9", plain("9.9.9.9", 53), "9.9.9.9:53"],
    ["tls://1.1.1.1", tls("1.1.1.1", 853, "1.1.1.1")],
    ["tls://1.1.1.1:853", tls("1.1.1.1", 853, "1.1.1.1"), "tls://1.1.1.1"],
    ["tls://9.9.9.9#DNS.Quad9.net.", tls("9.9.9.9", 853, "dns.quad9.net"), undefined],
    ["tls://127.0.0.1:8853#a.b", tls("127.0.0.1", 8853, "a.b")],
    ["tls://2620:fe::fe#dns.quad9.net", tls("2620:fe::fe", 853, "dns.quad9.net")],
    ["tls://[2620:fe::fe]:853", tls("2620:fe::fe", 853, "2620:fe::fe"), "tls://[2620:fe::fe]"],
    ["tls://dns.quad9.net", tls("dns.quad9.net", 853, "dns.quad9.net")],
    ["tls://DNS.quad9.net:8853", tls("dns.quad9.net", 8853, "dns.quad9.net")],
    ["tls://a.b#a.b", tls("a.b", 853, "a.b"), "tls://a.b"],
    ["https://dns.google/dns-query", https("dns.google", 443, "https://dns.google/dns-query")],
    [
      "https://DNS.google/dns-query{?dns}",
      https("dns.google", 443, "https://dns.google/dns-query"),
    ],
    ["https://[::1]:8443/q?user=7", https("::1", 8443, "https://[::1]:8443/q?user=7")],
    ["https://1.1.1.1/", https("1.1.1.1", 443, "https://1.1.1.1/")],
  ] as const;
  for (const [text, spec, canonical] of cases) {
    assertEquals(parseUpstreamUrl(text), spec, text);
    const written = formatUpstreamSpec(spec);
    if (canonical !== undefined) assertEquals(written, canonical);
    assertEquals(parseUpstreamUrl(written), spec, written);
  }
});

Deno.test("parseUpstreamUrl() says what is wrong, and what to write", () => {
  const cases: [string, RegExp][] = [
    ["", /^"" is not system, ADDRESS/],
    ["System", /is a name; write a resolver's address, or tls:\/\/System$/],
    ["dns.example", /^"dns\.example" is a name; write .* tls:\/\/dns\.example$/],
    ["1.1.1", /is not system/],
    ["1.1.1.1:", /is not system/],
    ["1.1.1.1:x", /is not system/],
    ["1.1.1.1:0", /no resolver can be/],
    ["0.0.0.0", /no resolver can be/],
    ["224.0.0.251", /no resolver can be/],
    ["fe80::1", /no resolver can be/],
    ["::ffff:0.0.0.0", /no resolver can be/],
    ["udp://1.1.1.1", /no kind of upstream; write system, /],
    ["http://dns.example/dns-query", /no kind of upstream/],
    ["TLS://1.1.1.1", /no kind of upstream/],
    ["tls://", /is not tls:\/\/ADDRESS/],
    ["tls://1.1.1.1:0", /no resolver can be/],
    ["tls://1.1.1.1:99999", /is not tls:\/\/ADDRESS/],
    ["tls://ff02::1#a.b", /no resolver can be/],
    ["tls://1.1.1.1/dns", /is not tls:\/\/ADDRESS/],
    ["tls://1.1.1.1#", /not the name of a certificate/],
    ["tls://1.1.1.1#1.1.1.1", /not the name of a certificate/],
    ["tls://1.1.1.1#a..b", /not the name of a certificate/],
    ["tls://1.1.1.1#a#b", /two "#"/],
    ["tls://a.b#c.d", /two names; write tls:\/\/a\.b, or the address before #c\.d$/],
    ["tls://1.2.3", /is not tls:\/\/ADDRESS/],
    ["tls://a.b:0", /is not tls:\/\/ADDRESS/],
    ["https://", /is not a URL/],
    ["https://dns.example", /lacks its path; .* https:\/\/dns\.example\/dns-query$/],
    ["https://dns.example?x", /lacks its path/],
    ["https://me@dns.example/q", /can't hold a name or a password/],
    ["https://dns.example/q#x", /has a "#"/],
    ["https://0.0.0.0/q", /no resolver can be/],
    ["https://[ff02::1]/q", /no resolver can be/],
    ["https://dns.example:0/q", /no resolver can be/],
    [`https://dns.example/${"a".repeat(1_024)}`, /at most 1024 characters/],
  ];
  for (const [text, says] of cases) {
    const told = parseUpstreamUrl(text);
    assert(typeof told === "string", text);
    assertMatch(told, says);
  }
});
