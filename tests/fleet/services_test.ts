/** Which published ports others are told of, and where. */
import { assertEquals } from "@std/assert";
import type { PublishedPort } from "../../lib/config/published.ts";
import { servicesOf } from "../../lib/fleet/services.ts";

const WEB = { name: "web", guestPort: 80, protocol: "tcp" } as const;
const ADVERTISED = ["10.0.0.5", "fd00::5"];

const at = (bind: string, hostPort = 8080, change: Partial<PublishedPort> = {}): PublishedPort => ({
  protocol: "tcp",
  bind,
  hostPort,
  guestPort: 80,
  ...change,
});

function told(
  ports: readonly PublishedPort[],
  advertise: readonly string[] = ADVERTISED,
): string[] {
  const { services, missing } = servicesOf([WEB], ports, advertise);
  return [
    ...services.map(({ name, port, addresses }) => `${name} ${port} ${addresses.join(" ")}`),
    ...[...missing].map(([name, why]) => `${name}: ${why}`),
  ];
}

Deno.test("a port of all addresses is reached where the operator says", () => {
  assertEquals(told([at("0.0.0.0")]), ["web 8080 10.0.0.5"]);
  assertEquals(told([at("::")]), ["web 8080 10.0.0.5 fd00::5"]);
  assertEquals(told([at("0.0.0.0"), at("::")]), ["web 8080 10.0.0.5 fd00::5"]);
});

Deno.test("a port of one address is reached there", () => {
  assertEquals(told([at("192.168.1.9")]), ["web 8080 192.168.1.9"]);
  assertEquals(told([at("192.168.1.9")], []), ["web 8080 192.168.1.9"]);
  assertEquals(told([at("127.0.0.1"), at("192.168.1.9")]), ["web 8080 192.168.1.9"]);
  assertEquals(told([at("FD00:0::9")]), ["web 8080 fd00::9"]);
});

Deno.test("of several ports the first that others reach is told", () => {
  assertEquals(told([at("127.0.0.1", 1), at("0.0.0.0", 2), at("10.0.0.9", 3)]), [
    "web 2 10.0.0.5",
  ]);
  const five = [1, 2, 3, 4, 5].map((last) => at(`10.0.0.${last}`));
  assertEquals(told(five), ["web 8080 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4"]);
});

Deno.test("what no other host reaches is not told of, and the way out is", () => {
  const way = "publish it at an address of the host, or at all of them and set advertise";
  const alone = (where: string) =>
    `web: the guest's port 80/tcp is published at ${where} alone, where no other host reaches it; ` +
    way;
  assertEquals(told([at("127.0.0.1"), at("::1")]), [alone("127.0.0.1, ::1")]);
  assertEquals(told([at("0.0.0.0")], []), [alone("0.0.0.0")]);
  assertEquals(told([at("0.0.0.0")], ["fd00::5"]), [alone("0.0.0.0")]);
  assertEquals(told([at("fe80::1")]), [alone("fe80::1")]);
  assertEquals(told([at("169.254.0.9")]), [alone("169.254.0.9")]);
  const none = ["web: the guest's port 80/tcp is not published"];
  assertEquals(told([]), none);
  assertEquals(told([at("0.0.0.0", 1, { guestPort: 81 })]), none);
  assertEquals(told([at("0.0.0.0", 1, { protocol: "udp" })]), none);
  assertEquals(told([at("/run/web.sock", 0, { protocol: "unix" })]), none);
});
