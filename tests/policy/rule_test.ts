import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { formatRule, parseRule, parseSource, RULE_MAX } from "../../lib/policy/rule.ts";
import { PORT_RANGES_MAX } from "../../lib/policy/rule_ports.ts";
import { ruleTexts } from "./arbitrary_rules.ts";

/** Texts of allow rules and their canonical text. */
const READ: Readonly<Record<string, string>> = {
  "10.0.0.0/8": "10.0.0.0/8",
  "10.0.0.1/32": "10.0.0.1",
  "0.0.0.0/0": "0.0.0.0/0",
  "10.0.0.0/8:5432/tcp": "10.0.0.0/8:5432/tcp",
  "10.0.0.0/8/icmp": "10.0.0.0/8/icmp",
  "10.0.0.1:443": "10.0.0.1:443",
  "10.0.0.1/UDP": "10.0.0.1/udp",
  "fd00::/8": "fd00::/8",
  "FD00:0:0::/8": "fd00::/8",
  "fd00::1/128": "fd00::1",
  "[fd00::1]": "fd00::1",
  "[fd00::1]/tcp": "fd00::1/tcp",
  "[fd00::/8]": "fd00::/8",
  "[fd00::1]:443": "[fd00::1]:443",
  "[fd00::/8]:443,80/tcp": "[fd00::/8]:80,443/tcp",
  "fd00::/8/icmp": "fd00::/8/icmp",
  "fd00::1:443": "fd00::1:443",
  "::/0": "::/0",
  "::": "::",
  "64:ff9b::1.2.3.4": "64:ff9b::102:304",
  "[::]:80": "[::]:80",
  public: "public",
  Private: "private",
  "host:22": "host:22",
  "loopback:1-1024/udp": "loopback:1-1024/udp",
  "metadata/icmp": "metadata/icmp",
  "PyPI.org.": "pypi.org",
  "*.PyPI.org": "*.pypi.org",
  "*.com": "*.com",
  "pypi.org:443/TLS": "pypi.org:443/tls",
  "pypi.org:8080/http": "pypi.org:8080/http",
  "pypi.org/icmp": "pypi.org/icmp",
  "time.example:123/udp": "time.example:123/udp",
  "example:443,80,81,443": "example:80-81,443",
  "example:1-10,5-20,22,21": "example:1-22",
  "public.": "public.",
  "*.public": "*.public",
  "localhost.:80": "localhost.:80",
  "hosts.": "hosts.",
  db: "db",
  "bücher.example": "xn--bcher-kva.example",
  "*.bücher.example:443": "*.xn--bcher-kva.example:443",
  "例え。テスト": "xn--r8jz45g.xn--zckzah",
  "a.1.example": "a.1.example",
  "3com.com": "3com.com",
  "a--b.example": "a--b.example",
};

/** Texts of allow rules, and what is said about them behind the text itself. */
const REFUSED: Readonly<Record<string, string>> = {
  // addresses
  "10.0.0.5/8": "10.0.0.5/8 has bits set behind the prefix; did you mean 10.0.0.0/8?",
  "10.0.0.5/8:443/tcp": "did you mean 10.0.0.0/8:443/tcp?",
  "fd00::1/64": "did you mean fd00::/64?",
  "[fd00::1/64]:443": "did you mean [fd00::/64]:443?",
  "10.0.0.0/33": "is not a number from 0 to 32; write one, such as 10.0.0.0/32",
  "10.0.0.0/08": "is not a number from 0 to 32",
  "10.0.0.0/255.0.0.0": "is not a number from 0 to 32; did you mean 10.0.0.0/8?",
  "10.0.0.0/255.0.255.0": "is not a number from 0 to 32; write one",
  "10.1.2.3/255.255.0.0": "did you mean 10.1.0.0/16?",
  "fd00::/129": "is not a number from 0 to 128",
  "fd00::/": "no protocol behind the slash",
  "10/8": "10/8 is no IPv4 prefix; did you mean 10.0.0.0/8?",
  "192.168/16:22": "did you mean 192.168.0.0/16:22?",
  "10.0.0.0/8/8": "more than one prefix length",
  "fd00::/8/8": "more than one prefix length",
  "10.0.0": "neither a name nor an IPv4 address; write four numbers from 0 to 255",
  "10.0.0.256": "neither a name nor an IPv4 address",
  "010.0.0.1": "without leading zeros",
  "1.2.3.4.5": "neither a name nor an IPv4 address",
  "127.1": "neither a name nor an IPv4 address",
  "2130706433": "neither a name nor an IPv4 address",
  "0x7f.0.0.1": "neither a name nor an IPv4 address",
  "a.0x7f000001": "neither a name nor an IPv4 address",
  "１２７.0.0.1": "neither a name nor an IPv4 address",
  "*.10.0.0.1": "neither a name nor an IPv4 address",
  "fd00::1::2": "is no IPv6 address; write one such as fd00::1",
  "pypi.org:80:90": "has two colons and is no IPv6 address; write ports behind one colon",
  "fe80::1%eth0": "an address of a rule has no zone; did you mean fe80::1?",
  "fd00::/8:443": "stands in brackets; write [fd00::/8]:443",
  "[fd00::]/8": "the prefix length stands inside the brackets; write [fd00::/8]",
  "[10.0.0.1]:80": "only IPv6 stands in brackets; write 10.0.0.1:80",
  "[fd00::1": "behind [ come an IPv6 address or prefix, ]",
  "[fd00::1]443": "behind [ come",
  "[]:443": "only IPv6 stands in brackets; write a name, an address",
  "::ffff:10.0.0.1": "an IPv4 address is written in its own form; did you mean 10.0.0.1?",
  "[::ffff:10.0.0.0/104]:80": "did you mean 10.0.0.0/8:80?",
  "::ffff:0:0/96": "did you mean 0.0.0.0/0?",
  // names
  "*": "* names nothing; write public for the Internet, 0.0.0.0/0 and ::/0 for every address",
  "**": "** names nothing",
  "*.": "*. names nothing",
  "*:443": "* names nothing",
  "*.*.example": "a * stands in front of a whole name, as in *.example.com, and nowhere else; " +
    "did you mean *.example?",
  "a.*.example": "did you mean *.example?",
  "**.example:443": "did you mean *.example:443?",
  "*example.com": "did you mean *.example.com?",
  "example.*": "nowhere else",
  ".example.com": "begins with a dot; did you mean *.example.com?",
  "a..b": "is no host name",
  "-a.example": "is no host name",
  "a-.example": "is no host name",
  "--deny": "is no host name",
  "a@b.example": "is no host name",
  "a_b!.example": "is no host name",
  "ex%41mple.com": "is no host name",
  "bü%41.example": "is no host name",
  "bü@example": "is no host name",
  "＊.example": "is no host name",
  "pypi.org/simple": '"simple" is no protocol of a rule; write tcp, udp, icmp, tls or http',
  "pypi.org/a/b": '"b" is no protocol',
  "pypi.org/a/tcp": "has a path; write the name alone; did you mean pypi.org/tcp?",
  "pypi.org/8": "a prefix length follows an address alone; did you mean pypi.org?",
  localhost:
    'localhost is no class of addresses (as a name it is "localhost."); did you mean loopback?',
  "any:443": 'any is no class of addresses (as a name it is "any."); did you mean public:443?',
  metdata: "did you mean metadata?",
  pubilc: "did you mean public?",
  hosts: "did you mean host?",
  "link-local":
    'link-local addresses are 169.254.0.0/16 and fe80::/10 (as a name it is "link-local.")',
  multicast:
    'multicast addresses are never reached, and need no rule (as a name it is "multicast.")',
  // URLs
  "http://x.example": "is a URL; write x.example:80/http",
  "https://x.example/path?q": "is a URL; write x.example:443/tls",
  "https://u:p@x.example:8443/": "is a URL; write x.example:8443/tls",
  "http://10.0.0.1": "is a URL; write 10.0.0.1:80/tcp",
  "HTTPS://[fd00::1]/": "is a URL; write [fd00::1]:443/tcp",
  "tcp://db.example:5432": "is a URL; write db.example:5432/tcp",
  "http://": "is a URL; write the name or address alone",
  // ports
  "10.0.0.1:": "no ports behind the colon; write some, such as :443, or no colon",
  "10.0.0.1:0": "port 0 is none; ports are 1 to 65535",
  "10.0.0.1:0-80": "port 0 is none",
  "10.0.0.1:0-65535": "leave :0-65535 out for every port",
  "10.0.0.1:*": "leave :* out for every port",
  "10.0.0.1:70000": "port 70000 is too large; ports are 1 to 65535",
  "10.0.0.1:99999999999999999999": "is too large",
  "10.0.0.1:9-3": "9-3 runs backwards; did you mean 10.0.0.1:3-9?",
  "10.0.0.1:9-8": "9-8 runs backwards; did you mean 10.0.0.1:8-9?",
  "10.0.0.1:80,9-3/tcp": "did you mean 10.0.0.1:80,3-9/tcp?",
  "10.0.0.1:080": '"080" begins with a zero; did you mean 10.0.0.1:80?',
  "10.0.0.1:80-": '"80-" lacks an end; write a range as in 8000-8010',
  "10.0.0.1:80,": "a port is missing beside a comma",
  "pypi.org:https": '"https" is no port; write its number; did you mean pypi.org:443?',
  "pypi.org:web": '"web" is no port; write its number',
  "10.0.0.1:1.5": '"1.5" is no port',
  "10.0.0.1:+80": '"+80" is no port',
  // protocols
  "10.0.0.1/": "no protocol behind the slash; write tcp, udp, icmp, tls or http, or no slash",
  "10.0.0.1/sctp": '"sctp" is no protocol of a rule',
  "x.example/tcp:443": "the protocol comes last; write x.example:443/tcp",
  "10.0.0.0:443/8": "ports follow the prefix; write 10.0.0.0/8:443",
  "x.example:443/8": '"443/8" is no port',
  "10.0.0.0/8/tls": "/tls compares names, and this target is none; write 10.0.0.0/8:443/tcp",
  "public:8080/http": "write public:8080/tcp",
  "10.0.0.1:80/icmp": "ICMP has no ports; write 10.0.0.1/icmp",
  "x.example/udp": "/udp of a name needs its ports; write x.example:123/udp",
  "x.example:443/udp": "UDP 443 shows no name that could be compared; allow addresses",
  // everything else
  ":443": "no target; write a name, an address",
  "/tcp": "no target",
  " 10.0.0.1": "a rule has no spaces and nothing that can't be seen; write 10.0.0.1",
  "x.example:80, 443": "write x.example:80,443",
  "x\u200b.example": "write x.example",
  "x\u0000.example": "write x.example",
  " ": "has no spaces",
};

Deno.test("rule: each spelling is read as its canonical text", () => {
  for (const [text, canonical] of Object.entries(READ)) {
    const body = parseRule(text, "allow");
    assert(typeof body !== "string", String(body));
    assertEquals(body.text, canonical, text);
    assertEquals(formatRule(body.target, body.ports, body.protocol), canonical);
  }
});

Deno.test("rule: each refusal begins with the text, and says what is wrong and the way out", () => {
  for (const [text, expected] of Object.entries(REFUSED)) {
    const said = parseRule(text, "allow");
    assert(typeof said === "string", `${text} is read as ${JSON.stringify(said)}`);
    assert(said.startsWith(JSON.stringify(text)), said);
    assertStringIncludes(said, expected);
  }
});

Deno.test("rule: what a refusal proposes is a rule", () => {
  let proposed = 0;
  for (const text of Object.keys(REFUSED)) {
    const said = parseRule(text, "allow") as string;
    const better = /; (?:did you mean|write) (\S+?)\??$/.exec(said)?.[1];
    if (better === undefined) continue;
    proposed++;
    assert(typeof parseRule(better, "allow") !== "string", said);
  }
  assert(proposed > 40, `${proposed}`);
});

Deno.test("rule: a deny has no tls and http, and needs no ports for udp", () => {
  const refused = {
    "x.example/tls": "a deny covers the whole port; write x.example:443/tcp",
    "x.example:8080/http": "write x.example:8080/tcp",
    "x.example/h3": "is no protocol of a rule; write tcp, udp or icmp",
    "https://x.example": "is a URL; write x.example:443/tcp",
  };
  for (const [text, expected] of Object.entries(refused)) {
    assertStringIncludes(String(parseRule(text, "deny")), expected);
  }
  for (const text of ["x.example/udp", "x.example:443/udp", "x.example/icmp"]) {
    assertEquals((parseRule(text, "deny") as { text: string }).text, text);
  }
});

Deno.test("rule: nothing at all, too much, too many", () => {
  assertStringIncludes(String(parseRule("", "allow")), "a rule is empty; write a name");
  const long = "a".repeat(RULE_MAX + 1);
  const said = String(parseRule(long, "allow"));
  assertStringIncludes(said, `a rule has at most ${RULE_MAX} characters, not ${RULE_MAX + 1}`);
  assert(said.length < 200, "a long text is not repeated");
  assertStringIncludes(String(parseRule("a".repeat(RULE_MAX), "allow")), "is no host name");
  const ports = (count: number) =>
    parseRule(`10.0.0.1:${Array.from({ length: count }, (_, i) => 2 * i + 1).join(",")}`, "allow");
  const most = ports(PORT_RANGES_MAX);
  assert(typeof most !== "string" && most.ports?.length === PORT_RANGES_MAX);
  assertStringIncludes(
    String(ports(PORT_RANGES_MAX + 1)),
    "65 ports and ranges in one rule, at most 64; write several rules",
  );
  const name = `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(61)}`;
  assertEquals((parseRule(name, "allow") as { text: string }).text, name);
  assertStringIncludes(String(parseRule(`${name}d`, "allow")), "is no host name");
  assertStringIncludes(String(parseRule(`${"a".repeat(64)}.x`, "allow")), "is no host name");
});

Deno.test("rule: a target's parts are told apart", () => {
  const prefix = parseRule("[fd00::/8]:443,80-90/tcp", "deny");
  assert(typeof prefix !== "string");
  const address = Uint8Array.from([0xfd, ...new Array<number>(15).fill(0)]);
  assertEquals(prefix, {
    target: { kind: "prefix", address, bits: 8 },
    ports: [{ first: 80, last: 90 }, { first: 443, last: 443 }],
    protocol: "tcp",
    text: "[fd00::/8]:80-90,443/tcp",
  });
  assertEquals(parseRule("*.x.example", "allow"), {
    target: { kind: "domain", name: "x.example", wildcard: true },
    ports: null,
    protocol: null,
    text: "*.x.example",
  });
  assertEquals(parseRule("host", "allow"), {
    target: { kind: "class", name: "host" },
    ports: null,
    protocol: null,
    text: "host",
  });
});

Deno.test("source: prefixes, addresses and classes are, names and ports are not", () => {
  assertEquals(parseSource("private"), { kind: "class", name: "private" });
  assertEquals(parseSource("10.0.0.0/8"), {
    kind: "prefix",
    address: Uint8Array.of(10, 0, 0, 0),
    bits: 8,
  });
  for (const text of ["fd00::/8", "[fd00::1]", "::1", "HOST", "0.0.0.0/0"]) {
    assert(typeof parseSource(text) !== "string", text);
  }
  const refused = {
    "": "a source is empty; write an address",
    "pypi.org": "a source is an address, a prefix such as 10.0.0.0/8, or public",
    "*.pypi.org": "a source is an address",
    "10.0.0.5/8": "has bits set behind the prefix; did you mean 10.0.0.0/8?",
    "::ffff:10.0.0.0/104": "did you mean 10.0.0.0/8?",
    "10.0.0.1:80": "a source has neither ports nor protocol; write 10.0.0.1",
    "private/tcp": "a source has neither ports nor protocol; write private",
    ":80": "a source has neither ports nor protocol",
    "10.0.0.1 ": "a source has no spaces and nothing that can't be seen; write 10.0.0.1",
    "[fd00::]/8": "write [fd00::/8]",
  };
  for (const [text, expected] of Object.entries(refused)) {
    assertStringIncludes(String(parseSource(text)), expected);
  }
});

Deno.test("rule: a canonical text reads as the rule that it is of", () => {
  fc.assert(
    fc.property(ruleTexts, fc.constantFrom("allow", "deny"), (text, action) => {
      const body = parseRule(text, action);
      if (typeof body !== "string") assertEquals(parseRule(body.text, action), body);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("rule: any text is a rule or a sentence of bounded length", () => {
  const pieces = fc.constantFrom(
    ...["*", ".", ":", "/", "[", "]", ",", "-", "%", "::", "10.0.0.0", "/8", "tcp", "a", "ü", "0"],
  );
  const texts = fc.oneof(
    fc.string({ unit: "binary", maxLength: 20 }),
    fc.array(pieces, { maxLength: 9 }).map((list) => list.join("")),
  );
  fc.assert(
    fc.property(texts, fc.constantFrom("allow", "deny"), (text, action) => {
      for (const said of [parseRule(text, action), parseSource(text)]) {
        if (typeof said === "string") assert(said.length > 10 && said.length < 900, said);
      }
    }),
    { numRuns: 2000 },
  );
});
