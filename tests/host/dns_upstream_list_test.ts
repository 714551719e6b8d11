import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/errors.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { formatUpstream, parseUpstream } from "../../lib/host/dns_address.ts";
import { DOWN_MS, QUIET_MS, UpstreamList } from "../../lib/host/dns_upstream_list.ts";
import { RECHECK_MS } from "../../lib/host/system_resolvers.ts";

Deno.test("parseUpstream() reads addresses of both families, with and without a port", () => {
  const cases = [
    ["1.1.1.1", "1.1.1.1", 53],
    ["127.0.0.53:5353", "127.0.0.53", 5353],
    ["2606:4700:4700::1111", "2606:4700:4700::1111", 53],
    ["[2606:4700:4700:0::1111]", "2606:4700:4700::1111", 53],
    ["[::1]:853", "::1", 853],
    ["::ffff:9.9.9.9", "9.9.9.9", 53],
  ] as const;
  for (const [text, hostname, port] of cases) {
    const upstream = parseUpstream(text);
    assertEquals(upstream, { hostname, port }, text);
    assertEquals(parseUpstream(formatUpstream(upstream!)), upstream);
  }
  const wrong = ["", "x", "1.1.1", "1.1.1.1:", "1.1.1.1:0", "1.1.1.1:65536", "[1.1.1.1]:x"];
  const nowhere = ["0.0.0.0", "::", "255.255.255.255", "224.0.0.251", "ff02::fb", "fe80::1"];
  for (const text of [...wrong, ...nowhere]) assertEquals(parseUpstream(text), null, text);
});

function list(upstreams: string[], options: { logger?: typeof silentLogger; path?: string } = {}) {
  const clock = { nowMs: 0 };
  const made = new UpstreamList({
    upstreams,
    logger: options.logger ?? silentLogger,
    now: () => clock.nowMs,
    ...(options.path === undefined ? {} : { resolvConfPath: options.path }),
  });
  return { clock, list: made, names: () => made.order().map(({ name }) => name.split(":")[0]) };
}

Deno.test("UpstreamList puts one that failed behind the others until it answers or time is over", () => {
  const { clock, list: upstreams, names } = list(["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
  const [one, two, three] = upstreams.order();
  upstreams.failed(one!, "no answer");
  assertEquals(names(), ["192.0.2.2", "192.0.2.3", "192.0.2.1"]);
  upstreams.failed(two!, "no answer");
  upstreams.failed(three!, "no answer");
  assertEquals(names(), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
  upstreams.answered(three!);
  assertEquals(names(), ["192.0.2.3", "192.0.2.1", "192.0.2.2"]);
  clock.nowMs += DOWN_MS;
  assertEquals(names(), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
});

Deno.test("UpstreamList says that one fails and that it answers again, and not too often", () => {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  const { clock, list: upstreams } = list(["192.0.2.1"], {
    logger: { ...silentLogger, info: write, warn: write },
  });
  const [one] = upstreams.order();
  upstreams.failed(one!, "no answer");
  upstreams.failed(one!, "no answer");
  upstreams.answered(one!);
  upstreams.answered(one!);
  const both = [
    "upstream DNS 192.0.2.1:53: no answer",
    "upstream DNS 192.0.2.1:53 answers again",
  ];
  assertEquals(lines, both);
  clock.nowMs += QUIET_MS - 1;
  upstreams.failed(one!, "no answer");
  upstreams.answered(one!);
  assertEquals(lines, both);
  clock.nowMs += 1;
  upstreams.failed(one!, "no answer");
  upstreams.answered(one!);
  assertEquals(lines, [...both, ...both]);
});

Deno.test("UpstreamList puts the system's resolvers in their place and follows their changes", () => {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeTextFileSync(path, "nameserver 192.0.2.2\nnameserver 192.0.2.1\n");
    const { clock, list: upstreams, names } = list(["192.0.2.1", "system", "192.0.2.9"], { path });
    assertEquals(names(), ["192.0.2.1", "192.0.2.2", "192.0.2.9"]);
    upstreams.failed(upstreams.order()[0]!, "no answer");
    Deno.writeTextFileSync(path, "nameserver 192.0.2.33\n");
    clock.nowMs += RECHECK_MS;
    // What is known about an upstream that stays is kept.
    assertEquals(names(), ["192.0.2.33", "192.0.2.9", "192.0.2.1"]);
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("UpstreamList names the upstream that is no address", () => {
  const error = assertThrows(() => list(["system", "dns.example"]), ConfigError, "upstreams[1]");
  assertEquals((error as ConfigError).problems.length, 1);
});
