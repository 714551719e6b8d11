import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { PortMapping } from "../../lib/config/options.ts";
import {
  mappingOf,
  parseHostService,
  parsePublishSpec,
  publishedTwice,
} from "../../lib/config/port_spec.ts";
import type { PublishedPort } from "../../lib/config/published.ts";

Deno.test("a published port is a host port and a guest port", () => {
  assertEquals(parsePublishSpec("8080:80"), [{ hostPort: 8080, guestPort: 80 }]);
  assertEquals(parsePublishSpec("8080:80/tcp"), [{ hostPort: 8080, guestPort: 80 }]);
  assertEquals(parsePublishSpec("8080"), [{ hostPort: 8080, guestPort: 8080 }]);
  assertEquals(parsePublishSpec("0:22"), [{ hostPort: 0, guestPort: 22 }]);
});

Deno.test("an address before the ports is where the host listens", () => {
  assertEquals(parsePublishSpec("0.0.0.0:8080:80"), [
    { hostPort: 8080, guestPort: 80, bind: ["0.0.0.0"] },
  ]);
  assertEquals(parsePublishSpec("[0:0::1]:8080:80"), [
    { hostPort: 8080, guestPort: 80, bind: ["::1"] },
  ]);
  assertEquals(parsePublishSpec("127.0.0.1:8080"), [
    { hostPort: 8080, guestPort: 8080, bind: ["127.0.0.1"] },
  ]);
});

Deno.test("ranges of one length are published port by port", () => {
  assertEquals(parsePublishSpec("8000-8002:9000-9002"), [
    { hostPort: 8000, guestPort: 9000 },
    { hostPort: 8001, guestPort: 9001 },
    { hostPort: 8002, guestPort: 9002 },
  ]);
  assertEquals(parsePublishSpec("[::]:7-8"), [
    { hostPort: 7, guestPort: 7, bind: ["::"] },
    { hostPort: 8, guestPort: 8, bind: ["::"] },
  ]);
});

Deno.test("what is carried stands behind the ports, and tcp is what is not said", () => {
  assertEquals(parsePublishSpec("127.0.0.1:5353:53/udp"), [
    { hostPort: 5353, guestPort: 53, protocol: "udp", bind: ["127.0.0.1"] },
  ]);
  assertEquals(parsePublishSpec("0:53/udp"), [{ hostPort: 0, guestPort: 53, protocol: "udp" }]);
  assertEquals(parsePublishSpec("[::]:7-8/udp"), [
    { hostPort: 7, guestPort: 7, protocol: "udp", bind: ["::"] },
    { hostPort: 8, guestPort: 8, protocol: "udp", bind: ["::"] },
  ]);
});

Deno.test("a unix socket is a path and the guest's port", () => {
  assertEquals(parsePublishSpec("unix:/run/web.sock:80"), [
    { unix: "/run/web.sock", guestPort: 80 },
  ]);
  assertEquals(parsePublishSpec("unix:./a:b.sock:80/tcp"), [{ unix: "./a:b.sock", guestPort: 80 }]);
});

Deno.test("a bad spec says what is wrong with it", () => {
  const cases: [string, string][] = [
    ["65536", `"65536" is not a port or range of the host`],
    ["web:80", `"web:80": web is not an address to bind`],
    ["8080:web", `"8080:web": "web" is not a port or range of the guest`],
    ["65536:80", `"65536:80": "65536" is not a port or range of the host`],
    ["8080:0", `"8080:0": "0" is not a port or range of the guest`],
    ["0", `"0": host port 0 needs a guest port, such as 0:80`],
    ["08:80", `"08:80": "08" is not a port or range of the host`],
    ["8080:80/sctp", `"8080:80/sctp": a published port is of tcp or udp, not of sctp`],
    ["8080:80/", `"8080:80/": a published port is of tcp or udp, not of nothing`],
    ["unix:/a", `"unix:/a" is not unix:/path:GUESTPORT, such as unix:/run/web.sock:80`],
    ["unix::80", `"unix::80" is not unix:/path:GUESTPORT, such as unix:/run/web.sock:80`],
    ["unix:80", `"unix:80" is not unix:/path:GUESTPORT, such as unix:/run/web.sock:80`],
    ["unix:/a:0", `"unix:/a:0": "0" is not a port of the guest`],
    ["unix:/a:web", `"unix:/a:web": "web" is not a port of the guest`],
    ["unix:/a:80/udp", `"unix:/a:80/udp": a unix socket carries connections, not udp`],
    [
      `unix:/${"a".repeat(107)}:80`,
      `"unix:/${"a".repeat(107)}:80": the path of a unix socket has at most 107 bytes, not 108`,
    ],
    ["8000-8001:80", `"8000-8001:80": the ranges differ in length (2 and 1)`],
    ["9-8:80", `"9-8:80": "9-8" is not a port or range of the host`],
    ["0-1:1-2", `"0-1:1-2": "0-1" is not a port or range of the host`],
    ["1-2000", `"1-2000": at most 1024 ports can be published`],
    ["localhost:8080:80", `"localhost:8080:80": localhost is not an address to bind`],
    ["1.2.3:8080:80", `"1.2.3:8080:80": 1.2.3 is not an address to bind`],
    ["224.0.0.1:8080:80", `"224.0.0.1:8080:80": 224.0.0.1 is not an address to bind`],
    ["[127.0.0.1]:8080:80", `"[127.0.0.1]:8080:80": [127.0.0.1] is not an address to bind`],
  ];
  for (const [spec, message] of cases) assertEquals(parsePublishSpec(spec), message);
  for (const spec of ["", "abc", "::1:8080:80", "1:2:3", "1:2:3:4", "9".repeat(129)]) {
    const example =
      "such as 8080:80, 127.0.0.1:5353:53/udp, 8000-8010:8000-8010 or unix:/run/web.sock:80";
    assertEquals(
      parsePublishSpec(spec),
      `"${spec}" is not [BIND:]HOSTPORT:GUESTPORT, ${example}`,
    );
  }
});

Deno.test("every pair of ports is read as it is written", () => {
  const port = fc.integer({ min: 1, max: 65_535 });
  fc.assert(fc.property(port, port, (hostPort, guestPort) => {
    assertEquals(parsePublishSpec(`${hostPort}:${guestPort}`), [{ hostPort, guestPort }]);
  }));
});

Deno.test("no text gives ports outside their bounds", () => {
  const piece = fc.constantFrom("0", "1", "65535", "80", ":", "-", "/", "tcp", "[::1]", "1.2.3.4");
  fc.assert(fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
    const parsed = parsePublishSpec(pieces.join(""));
    if (typeof parsed === "string") return;
    for (const { hostPort, guestPort } of parsed) {
      assertEquals(hostPort! >= 0 && hostPort! <= 65_535, true);
      assertEquals(guestPort >= 1 && guestPort <= 65_535, true);
    }
  }));
});

Deno.test("a place of the host is published once", () => {
  const one = { hostPort: 80, guestPort: 1 };
  assertEquals(publishedTwice([one, { hostPort: 81, guestPort: 1 }]), null);
  assertEquals(publishedTwice([one, { hostPort: 80, guestPort: 2, bind: ["0.0.0.0"] }]), null);
  assertEquals(publishedTwice([one, { hostPort: 80, guestPort: 2, bind: ["::1"] }]), "[::1]:80");
  const any = { hostPort: 0, guestPort: 1 };
  assertEquals(publishedTwice([any, any]), null);
});

Deno.test("places of different kinds are different places", () => {
  const tcp = { hostPort: 53, guestPort: 53 };
  const udp = { ...tcp, protocol: "udp" } as const;
  const unix = { unix: "/run/a.sock", guestPort: 53 };
  assertEquals(publishedTwice([tcp, udp, unix, { ...unix, unix: "/run/b.sock" }]), null);
  assertEquals(publishedTwice([tcp, udp, udp]), "127.0.0.1:53/udp");
  assertEquals(publishedTwice([unix, unix]), "unix:/run/a.sock");
});

Deno.test("what is published is published again as it was asked for, at the port that it got", () => {
  const asked: PortMapping[] = [
    { hostPort: 0, guestPort: 53, protocol: "udp", allowFrom: ["private"] },
    { hostPort: 0, guestPort: 53 },
    { hostPort: 80, guestPort: 80, bind: ["::"], allowFrom: ["10.0.0.0/8"] },
  ];
  const again = (port: PublishedPort) => mappingOf(port, asked);
  const udp = { protocol: "udp", bind: "::1", hostPort: 4000, guestPort: 53 } as const;
  assertEquals(again(udp), {
    hostPort: 4000,
    guestPort: 53,
    protocol: "udp",
    bind: ["::1"],
    allowFrom: ["private"],
  });
  assertEquals(again({ ...udp, protocol: "tcp" }), {
    hostPort: 4000,
    guestPort: 53,
    bind: ["::1"],
  });
  assertEquals(again({ protocol: "tcp", bind: "::", hostPort: 80, guestPort: 80 }), asked[2]!);
  assertEquals(again({ protocol: "unix", bind: "/run/a", hostPort: 0, guestPort: 22 }), {
    unix: "/run/a",
    guestPort: 22,
  });
});

Deno.test("a host service is two ports", () => {
  assertEquals(parseHostService("3128:8888"), { gatewayPort: 3128, hostPort: 8888 });
  for (const spec of ["3128", "0:1", "1:0", "1:2:3", "a:1", "1:65536", ""]) {
    const message = `"${spec}" is not GATEWAYPORT:HOSTPORT, such as 3128:3128`;
    assertEquals(parseHostService(spec), message);
  }
  assertEquals(parseHostService("53:53"), `"53:53": port 53 of the gateway is its DNS`);
});
