import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { formatEndpoint, parseEndpoint, parseHostPort } from "../../lib/config/endpoint.ts";
import { ConfigError } from "../../lib/config/errors.ts";
import { formatIp } from "../../lib/wire/address.ts";

Deno.test("a unix socket is named by its path", () => {
  assertEquals(parseEndpoint("unix:/run/vm1.sock"), { transport: "unix", path: "/run/vm1.sock" });
  assertEquals(parseEndpoint("unix:./a:b.sock"), { transport: "unix", path: "./a:b.sock" });
});

Deno.test("a TCP endpoint is an address literal and a port", () => {
  assertEquals(parseEndpoint("tcp:127.0.0.1:7654"), {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: 7654,
  });
  assertEquals(parseEndpoint("tcp:[0::1]:0"), { transport: "tcp", hostname: "::1", port: 0 });
});

Deno.test("anything else is refused with what to write", () => {
  const cases: [string, string][] = [
    ["", `"" is not an endpoint; write unix:/path or tcp:127.0.0.1:7654`],
    ["/run/vm.sock", `"/run/vm.sock" is not an endpoint; write unix:/run/vm.sock`],
    ["vsock:3:1024", `"vsock:3:1024" is only for a VMM`],
    ["unix:", `"unix:" lacks the path of its socket`],
    ["unix:a\0b", "has no NUL"],
    [`unix:/${"x".repeat(107)}`, "at most 107 bytes, not 108"],
    ["tcp:localhost:7654", `"tcp:localhost:7654" is not tcp:ADDRESS:PORT`],
    ["tcp:127.0.0.1", "is not tcp:ADDRESS:PORT"],
    ["tcp:127.0.0.1:65536", "is not tcp:ADDRESS:PORT"],
    ["tcp:::1:7654", "is not tcp:ADDRESS:PORT"],
    ["tcp:[127.0.0.1]:7654", "is not tcp:ADDRESS:PORT"],
    ["tcp:127.0.0.1:7654 ", "is not tcp:ADDRESS:PORT"],
  ];
  for (const [text, message] of cases) {
    assertThrows(() => parseEndpoint(text), ConfigError, message);
  }
});

Deno.test("the length of a path is counted in bytes", () => {
  assertEquals(parseEndpoint(`unix:/${"x".repeat(106)}`).transport, "unix");
  assertThrows(() => parseEndpoint(`unix:/${"ä".repeat(54)}`), ConfigError, "not 109");
});

Deno.test("any address and port survive being written and read", () => {
  const octets = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  );
  fc.assert(fc.property(octets, fc.integer({ min: 0, max: 65_535 }), (address, port) => {
    const endpoint = { transport: "tcp", hostname: formatIp(address), port } as const;
    assertEquals(parseEndpoint(formatEndpoint(endpoint)), endpoint);
  }));
});

Deno.test("no text makes the parser fail in another way", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    try {
      const endpoint = parseEndpoint(text);
      assertEquals(parseEndpoint(formatEndpoint(endpoint)), endpoint);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
    }
    parseHostPort(text);
  }));
});
