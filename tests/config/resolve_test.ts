import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ConfigError } from "../../lib/config/errors.ts";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { DEFAULT_GUEST_NETWORK } from "../../lib/config/options.ts";
import { resolveConfig } from "../../lib/config/resolve.ts";
import { fromYaml, origin, refused } from "./config_sources.ts";

Deno.test("with no source everything is at its default", () => {
  const config = resolveConfig({});
  assertEquals(config.settings, {
    meeting: null,
    framing: "stream",
    once: false,
    lingerMs: 0,
    graceMs: 5000,
    control: null,
    log: { level: "info", format: "text" },
    network: {
      guestNetwork: { ...DEFAULT_GUEST_NETWORK },
      publishedPorts: [],
      dns: { upstreams: ["system"], intercept: true, records: {}, zones: {}, cache: true },
      hostLoopback: false,
      hostServices: [],
      policy: {
        protect: "metadata",
        allow: [],
        deny: [],
        denyPage: true,
        ech: "refuse",
        origins: { allow: [], deny: [] },
      },
      rate: {},
      limits: { ...DEFAULT_LIMITS },
    },
  });
  assertEquals(new Set(config.entries.map((entry) => entry.origin)), new Set(["default"]));
});

Deno.test("a whole file is read", async () => {
  const path = new URL("../../fixtures/config/gateway.yaml", import.meta.url);
  const config = resolveConfig({
    file: { name: "gateway.yaml", text: await Deno.readTextFile(path) },
  });
  assertEquals(config.settings, {
    meeting: { mode: "listen", endpoint: { transport: "unix", path: "/run/vm1.sock" } },
    framing: "stream",
    once: true,
    lingerMs: 90_000,
    graceMs: 2500,
    control: {
      endpoint: { transport: "tcp", hostname: "127.0.0.1", port: 9000 },
      tokenFile: "/run/vm1.token",
    },
    log: { level: "debug", format: "json" },
    network: {
      guestNetwork: {
        guestIp: "10.7.0.2/24",
        gatewayIp: "10.7.0.1",
        guestIp6: "fd00:7::2/64",
        gatewayIp6: "fd00:7::1",
        guestMac: "02:00:00:00:00:22",
        gatewayMac: "02:00:00:00:00:11",
        mtu: 9000,
        ipv6: true,
        checksums: "verify",
        offload: false,
      },
      publishedPorts: [
        { hostPort: 8080, guestPort: 80 },
        { hostPort: 2222, guestPort: 22, bind: ["0.0.0.0"] },
        { hostPort: 0, guestPort: 443, bind: ["127.0.0.1", "::1"] },
        { hostPort: 5901, guestPort: 5900, allowFrom: ["private", "192.0.2.0/24", "2001:db8::1"] },
      ],
      dns: {
        upstreams: ["system", "9.9.9.9:5353", "[2620:fe::fe]:53"],
        intercept: false,
        search: "vm.internal",
        records: {
          "db.internal": ["10.0.0.5", "fd00::5"],
          "one.internal": ["10.0.0.6"],
          "*.web.internal": { cname: "one.internal", ttl: 300 },
          "all.internal": { a: ["10.0.0.7"], aaaa: "FD00::7", txt: ["a", "b=c d"] },
          "_sip._tcp.internal": { srv: "10 5 5060 one.internal" },
          "7.0.0.10.in-addr.arpa": { ptr: "all.internal" },
          "none.internal": [],
        },
        zones: {
          "corp.example": ["10.0.0.53:53", "[fd00::53]:5353"],
          "16.172.in-addr.arpa": ["10.0.0.53:53"],
          "lab.internal": "local",
        },
        cache: false,
      },
      hostLoopback: false,
      hostServices: [{ gatewayPort: 3128, hostPort: 3128 }],
      policy: {
        protect: "strict",
        allow: [
          "*.example.com:443/tls",
          "github.com:22",
          "10.0.0.0/8:5432/tcp",
          "[fd00::/8]:80,443",
        ],
        deny: ["metadata", "203.0.113.7"],
        denyPage: false,
        ech: "outer",
        origins: {
          allow: [
            "gateway.yaml:39:5",
            "gateway.yaml:40:5",
            "gateway.yaml:41:5",
            "gateway.yaml:42:5",
          ],
          deny: ["gateway.yaml:43:10", "gateway.yaml:43:20"],
        },
      },
      rate: {
        up: 10_000_000,
        down: 52_428_800,
        flowsPerSecond: 200,
        upBurst: 1_500_000,
        flowsBurst: 50,
      },
      upstreamProxy: "socks5://Proxy.example:1080/",
      limits: { ...DEFAULT_LIMITS, tcpFlows: 4096 },
    },
  });
  assertEquals(origin(config, "guestNetwork.mtu"), "gateway.yaml:9:3");
  assertEquals(origin(config, "limits.tcpFlows"), "gateway.yaml:53:11");
  assertEquals(origin(config, "limits.udpFlows"), "default");
  assertEquals(origin(config, "policy.allow"), "gateway.yaml:38:3");
  assertEquals(origin(config, "rate.upBurst"), "gateway.yaml:46:53");
});

Deno.test("an empty file, an empty section and a file of comments set nothing", () => {
  for (const text of ["", "# nothing", "guestNetwork:\n", "dns: {}\n", "---\n"]) {
    assertEquals(resolveConfig({ file: { name: "a", text } }).settings, resolveConfig({}).settings);
  }
});

Deno.test("flags win over the environment, that over the file", () => {
  const file = fromYaml("guestNetwork: { mtu: 1400 }", "publish: ['1:1']", "once: true").file!;
  const environment = {
    VIRTIO_GATEWAY_MTU: "1300",
    VIRTIO_GATEWAY_PUBLISH: "2:2, 3:3",
    HOME: "/root",
  };
  const config = resolveConfig({ file, environment, flags: { mtu: "1350" } });
  assertEquals(config.settings.network.guestNetwork.mtu, 1350);
  assertEquals(config.settings.network.publishedPorts, [
    { hostPort: 2, guestPort: 2 },
    { hostPort: 3, guestPort: 3 },
  ]);
  assertEquals(config.settings.once, true);
  assertEquals(origin(config, "guestNetwork.mtu"), "--mtu");
  assertEquals(origin(config, "publish"), "VIRTIO_GATEWAY_PUBLISH");
  assertEquals(origin(config, "once"), "gateway.yaml:3:1");
});

Deno.test("a negated flag is false and says so", () => {
  const config = resolveConfig({ flags: { ipv6: false, "dns-intercept": false } });
  assertEquals(config.settings.network.guestNetwork.ipv6, false);
  assertEquals(config.settings.network.dns.intercept, false);
  assertEquals(origin(config, "guestNetwork.ipv6"), "--no-ipv6");
});

Deno.test("an environment variable without a value counts as absent", () => {
  assertEquals(resolveConfig({ environment: { VIRTIO_GATEWAY_MTU: "" } }), resolveConfig({}));
});

Deno.test("an unknown key with a bracket in it is refused as any other", () => {
  refused(fromYaml("a[b: 1"), `gateway.yaml:1:1 unknown key "a[b"`);
  refused(
    fromYaml("policy: {}", "dns:", "  x[0].y[: 1"),
    `gateway.yaml:3:3 unknown key "x[0].y[" in dns`,
  );
});

Deno.test("an unknown key has its line, column and the nearest name", () => {
  refused(
    fromYaml("policy:", "  protect: off", "  protct: off"),
    `gateway.yaml:3:3 unknown key "protct" in policy; did you mean "protect"?`,
  );
  refused(
    fromYaml("lisen: unix:/a"),
    `gateway.yaml:1:1 unknown key "lisen"; did you mean "listen"?`,
  );
  refused(fromYaml("frobnicate: 1"), `gateway.yaml:1:1 unknown key "frobnicate"`);
  refused(
    fromYaml("publish: [{ host: 1, gest: 2 }]"),
    `gateway.yaml:1:22 publish[0].gest: unknown key "gest"; did you mean "guest"?`,
    `gateway.yaml:1:11 publish[0]: lacks "guest"`,
  );
  refused(fromYaml("__proto__: 1"), `gateway.yaml:1:1 unknown key "__proto__"`);
  refused(fromYaml("dns: { constructor: 1 }"), `gateway.yaml:1:8 unknown key "constructor" in dns`);
});

Deno.test("what is not YAML has its line and column", () => {
  // The words are the parser's own, so only the place is compared.
  const place = (...lines: string[]): string => {
    const error = assertThrows(() => resolveConfig(fromYaml(...lines)), ConfigError);
    return error.message.split(" ")[0]!;
  };
  assertEquals(place("a: 1", "b: }"), "gateway.yaml:2:4");
  assertEquals(place("once: true", "once: false"), "gateway.yaml:2:1");
});

Deno.test("a wrong shape is told where it stands", () => {
  refused(fromYaml("- a"), "gateway.yaml:1:1 the file is not a mapping of keys");
  refused(
    fromYaml("guestNetwork: 5"),
    "gateway.yaml:1:1 guestNetwork is not a mapping of keys such as guestIp, gatewayIp, guestIp6, gatewayIp6",
  );
  refused(fromYaml("once: [true]"), "gateway.yaml:1:1 once: is a list, not a value");
  refused(fromYaml("log: { level: {} }"), "gateway.yaml:1:8 log.level: is a mapping, not a value");
  refused(fromYaml("guestNetwork:", "  mtu:"), "gateway.yaml:2:3 guestNetwork.mtu: has no value");
});

Deno.test("a wrong value names its source", () => {
  const text = `"x" is not a whole number`;
  refused({ flags: { mtu: "x" } }, `--mtu: ${text}`);
  refused({ environment: { VIRTIO_GATEWAY_MTU: "x" } }, `VIRTIO_GATEWAY_MTU: ${text}`);
  refused(fromYaml("guestNetwork:", "  mtu: x"), `gateway.yaml:2:3 guestNetwork.mtu: ${text}`);
});

Deno.test("each kind of value is checked", () => {
  refused({ flags: { once: "yes" } }, `--once: "yes" is not true or false`);
  refused(
    { flags: { protect: "all" } },
    `--protect: "all" is not off, metadata or strict`,
  );
  refused(
    { flags: { framing: "slirp" } },
    `--framing: "slirp" is not stream, stream-vnet or hyperkit`,
  );
  refused(
    { flags: { grace: "-1" } },
    `--grace: "-1" is not a number of seconds from 0 to 3600`,
  );
  refused(
    { flags: { publish: ["80", "1:2:3"] } },
    `--publish: "1:2:3" is not [BIND:]HOSTPORT:GUESTPORT, such as 8080:80, 127.0.0.1:5353:53/udp, 8000-8010:8000-8010 or unix:/run/web.sock:80`,
  );
  refused({ flags: { publish: ["80", "80:1"] } }, "--publish: 127.0.0.1:80 is published twice");
  refused(
    { flags: { publish: ["1-1024", "2000"] } },
    "--publish: at most 1024 ports can be published, not 1025",
  );
  refused(
    { flags: { "host-service": ["1:2", "1:3"] } },
    "--host-service: port 1 of the gateway leads to two host ports",
  );
  refused(
    { flags: { dns: ["https://x"] } },
    `--dns: "https://x" lacks its path; most resolvers have https://x/dns-query`,
  );
  refused(
    { flags: { dns: ["1.1.1.1:0"] } },
    `--dns: "1.1.1.1:0" is a place where no resolver can be; write system, ADDRESS[:PORT], tls://ADDRESS[#NAME], tls://NAME or https://HOST/PATH`,
  );
  refused(fromYaml("dns: { upstreams: [] }"), "gateway.yaml:1:8 dns.upstreams: names no resolver");
  refused({ flags: { "dns-search": "a..b" } }, `--dns-search: "a..b" is not a domain name`);
  refused({ flags: { "dns-record": ["a"] } }, `--dns-record: "a" is not NAME=ADDRESS`);
  refused({ flags: { "dns-record": ["a=b"] } }, `--dns-record: "b" is not an address`);
  refused(
    fromYaml("dns:", "  records:", "    ok.test: 10.0.0.1", "    x.test: [10.0.0.1, 10.0.0]"),
    `gateway.yaml:4:24 dns.records.x.test[1]: "10.0.0" is not an address`,
  );
  refused({ flags: { connect: "tcp:127.0.0.1:0" } }, "--connect: port 0 can't be connected to");
});

Deno.test("two values that do not fit are told at the one that breaks the rule", () => {
  refused(
    { flags: { "guest-ip": "10.0.0.2/24" } },
    `guestNetwork.gatewayIp (default): "100.96.0.1" is not inside the guest's 10.0.0.2/24`,
  );
  refused(
    fromYaml("limits:", "  tcpDials: 9000"),
    "gateway.yaml:2:3 limits.tcpDials: 9000 is more than tcpHalfOpen (2048): " +
      "a flow that is dialled is half-open",
  );
});

Deno.test("all problems are told at once", () => {
  refused(
    { ...fromYaml("onec: true", "guestNetwork: { mtu: 70000 }"), flags: { protect: "x" } },
    `gateway.yaml:1:1 unknown key "onec"; did you mean "once"?`,
    `--protect: "x" is not off, metadata or strict`,
    "gateway.yaml:2:17 guestNetwork.mtu: 70000 is not a whole number from 576 to 65520",
  );
});

Deno.test("listen and connect exclude each other at one level", () => {
  refused(
    { flags: { listen: "unix:/a", connect: "unix:/b" } },
    "--connect: contradicts --listen; keep one",
  );
  const file = fromYaml("listen: unix:/a").file!;
  const config = resolveConfig({ file, flags: { connect: "unix:/b" } });
  assertEquals(config.settings.meeting, {
    mode: "connect",
    endpoint: { transport: "unix", path: "/b" },
  });
  assertEquals(origin(config, "listen"), "default");
  const other = resolveConfig({
    ...fromYaml("connect: unix:/b"),
    flags: { listen: "unix:/a" },
  });
  assertEquals(other.settings.meeting?.mode, "listen");
});

Deno.test("names are kept in lower case, addresses in canonical form", () => {
  const { network } = resolveConfig({
    flags: {
      "dns-record": ["DB.Internal.=FD00:0::5", "db.internal=10.0.0.5"],
      dns: ["::1", "tls://9.9.9.9#dns.quad9.net", "https://DNS.example/q"],
    },
  }).settings;
  assertEquals(network.dns.records, { "db.internal": ["fd00::5", "10.0.0.5"] });
  assertEquals(network.dns.upstreams, [
    "[::1]:53",
    "tls://9.9.9.9#dns.quad9.net",
    "https://dns.example/q",
  ]);
});

Deno.test("any file gives a configuration or its problems, and nothing else", async () => {
  const path = new URL("../../fixtures/config/gateway.yaml", import.meta.url);
  const whole = await Deno.readTextFile(path);
  const piece = fc.oneof(
    fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ": ",
      "- ",
      "\n",
      "  ",
      '"',
      "'",
      "&a ",
      "*a",
      "|",
      "0",
      "~",
    ),
    fc.constantFrom(...whole.split(/(?<=[\s,])/)),
  );
  const text = fc.oneof(
    fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join("")),
    fc.tuple(fc.nat(whole.length), fc.nat(20), fc.string()).map(([at, count, other]) =>
      whole.slice(0, at) + other + whole.slice(at + count)
    ),
  );
  fc.assert(
    fc.property(text, (text) => {
      try {
        const { settings } = resolveConfig({ file: { name: "f", text } });
        assertEquals(structuredClone(settings), settings);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        for (const line of error.message.split("\n")) assertMatch(line, /./);
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("the resolved settings are plain data", () => {
  const { settings } = resolveConfig({ flags: { publish: ["80"] } });
  assertEquals(structuredClone(settings), settings);
});

Deno.test("a control interface is this machine's alone, and on TCP has a token", () => {
  const { control } = resolveConfig(fromYaml("control: unix:./c.sock")).settings;
  assertEquals(control, { endpoint: { transport: "unix", path: "./c.sock" } });
  const flags = { control: "tcp:[::1]:0", "control-token": "t" };
  assertEquals(resolveConfig({ flags }).settings.control?.tokenFile, "t");
  refused(
    fromYaml("listen: unix:a", "control: tcp:127.0.0.1:9000"),
    "gateway.yaml:2:1 control: on TCP needs a token, as every user of this machine reaches it; " +
      "name its file with --control-token, or use unix:/path",
  );
  for (const hostname of ["0.0.0.0", "[::]", "192.0.2.1", "128.0.0.1", "[::ffff:127.0.0.1]"]) {
    const config = fromYaml(`control: "tcp:${hostname}:1"`, "controlToken: t");
    const error = assertThrows(() => resolveConfig(config), ConfigError);
    assertMatch(error.message, /is not of the loopback; write tcp:127\.0\.0\.1:PORT/);
  }
});

Deno.test("large segments and their header are asked for, and not of hyperkit", () => {
  const flags = { listen: "unix:/run/vm.sock", framing: "stream-vnet", offload: true };
  const { settings } = resolveConfig({ flags });
  assertEquals([settings.framing, settings.network.guestNetwork!.offload], ["stream-vnet", true]);
  refused(
    { flags: { ...flags, framing: "hyperkit" } },
    "--offload: the framing hyperkit has no frames as long as these; leave it or the offload out",
  );
  refused(
    { flags: { listen: "unixgram:/run/vm.sock", framing: "stream-vnet" } },
    "--framing: unixgram:/run/vm.sock has a frame in each datagram; the framing stream-vnet is " +
      "for streams",
  );
});

Deno.test("datagrams and pipes are listened on, as what they are", () => {
  const { settings } = resolveConfig({ flags: { listen: "unixgram:/run/vm.sock" } });
  assertEquals(settings.meeting, {
    mode: "listen",
    endpoint: { transport: "unixgram", path: "/run/vm.sock" },
  });
  refused(
    { flags: { listen: "unixgram:/run/vm.sock", framing: "hyperkit" } },
    `--framing: unixgram:/run/vm.sock has a frame in each datagram; the framing hyperkit is for streams`,
  );
  refused(
    { flags: { connect: "stdio:" } },
    `--connect: "stdio:" is only for a VMM that is waited for; write unix:/path or ` +
      "tcp:127.0.0.1:7654",
  );
  refused({ flags: { listen: "unixgram:" } }, `--listen: "unixgram:" lacks the path of its socket`);
});

Deno.test("published ports of every kind are read as the file spells them, and shown where they are wrong", () => {
  const { settings } = resolveConfig(fromYaml(
    "publish:",
    "  - 8080:80",
    "  - 127.0.0.1:5353:53/udp",
    "  - { host: 0, guest: 22, bind: [127.0.0.1, '::1'], allowFrom: [private] }",
    "  - { host: 4433, guest: 443, protocol: udp }",
    "  - { host: 80, guest: 80, protocol: tcp }",
    "  - unix:/run/web.sock:80",
    "  - { unix: /run/ssh.sock, guest: 22 }",
  ));
  assertEquals(settings.network.publishedPorts, [
    { hostPort: 8080, guestPort: 80 },
    { hostPort: 5353, guestPort: 53, protocol: "udp", bind: ["127.0.0.1"] },
    { hostPort: 0, guestPort: 22, bind: ["127.0.0.1", "::1"], allowFrom: ["private"] },
    { hostPort: 4433, guestPort: 443, protocol: "udp" },
    { hostPort: 80, guestPort: 80 },
    { unix: "/run/web.sock", guestPort: 80 },
    { unix: "/run/ssh.sock", guestPort: 22 },
  ]);
  refused(
    fromYaml("publish:", "  - { host: 1, guest: 2, protocol: sctp }"),
    `gateway.yaml:2:26 publish[0].protocol: "sctp" is neither tcp nor udp`,
  );
  refused(
    fromYaml("publish:", "  - { unix: /a, guest: 2, allowFrom: [private] }"),
    "gateway.yaml:2:27 publish[0].allowFrom: says nothing beside unix: " +
      "a socket is its user's alone, for connections",
  );
  refused(
    fromYaml("publish:", "  - { unix: 'unix:/a', guest: 2 }"),
    "gateway.yaml:2:7 publish[0].unix: the path stands alone here: /a",
  );
  refused(fromYaml("publish:", "  - { unix: /a }"), `gateway.yaml:2:3 publish[0]: lacks "guest"`);
  refused(
    fromYaml("publish: [53:53/udp, '53:1/udp']"),
    "gateway.yaml:1:1 publish: 127.0.0.1:53/udp is published twice",
  );
});
