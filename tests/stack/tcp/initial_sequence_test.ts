/** RFC 6528: nobody who sees some initial sequence numbers can tell another one. */
import { assertEquals } from "@std/assert";
import { TcpScript } from "../../support/tcp_script.ts";

Deno.test("initial sequence numbers follow a keyed hash of the ports and the clock", () => {
  const isns = (ports: number[], ms: number) => {
    const s = new TcpScript({ flows: 16 });
    s.at(ms);
    return ports.map((port) => (s.port(port).guest("S 0").connection.sender.iss) >>> 0);
  };
  const [a, b, c] = isns([40000, 40001, 40002], 0);
  const [later] = isns([40000], 1000);
  assertEquals(((later! - a!) >>> 0) === 250_000, true, "4 microseconds a step");
  assertEquals(new Set([b! - a!, c! - b!, 0]).size, 3, "no step from port to port");
});
