import { assertEquals, assertStrictEquals } from "@std/assert";
import { silentLogger } from "../../lib/config/logger.ts";
import { parseResolvConf, RECHECK_MS, SystemResolvers } from "../../lib/host/system_resolvers.ts";

const FILE = new URL("../../fixtures/dns/resolv.conf", import.meta.url).pathname;
const DEFAULT = [{ hostname: "1.1.1.1", port: 53 }];

Deno.test("parseResolvConf() takes the usable resolvers in order, each once", () => {
  assertEquals(parseResolvConf(Deno.readTextFileSync(FILE)), [
    { hostname: "127.0.0.53", port: 53 },
    { hostname: "2001:db8::53", port: 53 },
    { hostname: "192.0.2.3", port: 53 },
  ]);
});

Deno.test("parseResolvConf() takes eight resolvers, line ends of any kind, and an empty file", () => {
  const many = Array.from({ length: 20 }, (_, i) => `nameserver 192.0.2.${i + 1}\r\n`).join("");
  assertEquals(parseResolvConf(many).length, 8);
  assertEquals(parseResolvConf(many)[7], { hostname: "192.0.2.8", port: 53 });
  assertEquals(parseResolvConf(""), []);
});

Deno.test("SystemResolvers reads the file again once it has changed, and not before its time", () => {
  const path = Deno.makeTempFileSync();
  try {
    let nowMs = 0;
    const resolvers = new SystemResolvers({ logger: silentLogger, now: () => nowMs, path });
    assertEquals(resolvers.list(), DEFAULT);
    Deno.writeTextFileSync(path, "nameserver 192.0.2.1\n");
    assertEquals(resolvers.list(), DEFAULT);
    nowMs += RECHECK_MS;
    const first = resolvers.list();
    assertEquals(first, [{ hostname: "192.0.2.1", port: 53 }]);
    nowMs += RECHECK_MS;
    assertStrictEquals(resolvers.list(), first);
    Deno.writeTextFileSync(path, "nameserver 192.0.2.22\n");
    nowMs += RECHECK_MS;
    assertEquals(resolvers.list(), [{ hostname: "192.0.2.22", port: 53 }]);
    Deno.writeFileSync(path, new Uint8Array(64 * 1024 + 1));
    nowMs += RECHECK_MS;
    assertEquals(resolvers.list(), DEFAULT);
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("SystemResolvers says what it uses once for each change", () => {
  const lines: string[] = [];
  const logger = { ...silentLogger, info: (line: string) => void lines.push(line) };
  let nowMs = 0;
  const resolvers = new SystemResolvers({ logger, now: () => nowMs, path: FILE });
  for (let i = 0; i < 3; i++) {
    resolvers.list();
    nowMs += RECHECK_MS;
  }
  assertEquals(lines, ["upstream DNS: 127.0.0.53:53 [2001:db8::53]:53 192.0.2.3:53"]);
});

Deno.test({
  name: "SystemResolvers takes the default where reading is not granted, without a prompt",
  permissions: { read: false },
  fn() {
    const resolvers = new SystemResolvers({ logger: silentLogger, now: () => 0, path: FILE });
    assertEquals(resolvers.list(), DEFAULT);
  },
});

Deno.test("SystemResolvers takes the default where there is no file", () => {
  for (const path of [`${FILE}.absent`, FILE.slice(0, FILE.lastIndexOf("/"))]) {
    const resolvers = new SystemResolvers({ logger: silentLogger, now: () => 0, path });
    assertEquals(resolvers.list(), DEFAULT);
  }
});
