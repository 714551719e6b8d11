import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { StackHarness } from "../support/stack_harness.ts";
import { dhcpFixture } from "./dhcp_fixtures.ts";
import {
  concat,
  ethernet,
  GATEWAY6,
  GATEWAY_LL,
  GATEWAY_MAC,
  GUEST6,
  GUEST_LL,
  GUEST_MAC,
  ip,
  ip6,
  mac,
  u16,
  udp,
} from "../support/packets.ts";

const SERVERS = "ff02::1:2";
const CLIENT_DUID = concat([0, 3, 0, 1], mac(GUEST_MAC));
const SERVER_DUID = concat([0, 3, 0, 1], mac(GATEWAY_MAC));

function option(code: number, value: Uint8Array | readonly number[]): Uint8Array {
  return concat(u16(code), u16(value.length), value);
}

const CLIENT_ID = option(1, CLIENT_DUID);
const SERVER_ID = option(2, SERVER_DUID);
const ASK_DNS = option(6, [0, 23]);
const ASK_BOTH = option(6, [0, 23, 0, 24]);

function message(type: number, ...options: Uint8Array[]): Uint8Array {
  return concat([type, 1, 2, 3], ...options);
}

function dhcp(data: Uint8Array, source = GUEST_LL, destination = SERVERS): Uint8Array {
  const packet = ip6(udp(source, 546, destination, 547, data), { source, destination });
  return ethernet(packet, destination === SERVERS ? { destination: "33:33:00:01:00:02" } : {});
}

const NAMES = new TextEncoder().encode("\x02vm\x08internal\0");

Deno.test("dhcp6: a real client's question is answered: ISC dhclient", () => {
  const h = new StackHarness({ search: "vm.internal" });
  h.push(dhcpFixture("dhclient_information_request"));
  const reply = h.reply();
  assertEquals([reply.source, reply.destination], [GATEWAY_LL, GUEST_LL]);
  assertEquals(reply.destinationMac, GUEST_MAC);
  assertEquals(reply.payload.slice(0, 4), concat(u16(547), u16(546)));
  const want = concat(
    [7, 0x7b, 0x23, 0xc6],
    option(1, concat([0, 3, 0, 1], mac(GUEST_MAC))),
    SERVER_ID,
    option(23, ip(GATEWAY6)),
    option(24, NAMES),
  );
  assertEquals(reply.payload.slice(8), want);
  assertEquals(h.counted(), { "csum.partial": 1 });
});

Deno.test("dhcp6: only what was asked for, and nothing that there is not", () => {
  const rows: [string | null, Uint8Array[], Uint8Array[]][] = [
    ["vm.internal", [ASK_DNS], [SERVER_ID, option(23, ip(GATEWAY6))]],
    ["vm.internal", [option(6, [0, 24])], [SERVER_ID, option(24, NAMES)]],
    ["vm.internal", [option(6, [0, 31])], [SERVER_ID]],
    ["vm.internal", [], [SERVER_ID, option(23, ip(GATEWAY6)), option(24, NAMES)]],
    [null, [ASK_BOTH], [SERVER_ID, option(23, ip(GATEWAY6))]],
    [null, [CLIENT_ID, SERVER_ID, ASK_DNS], [CLIENT_ID, SERVER_ID, option(23, ip(GATEWAY6))]],
  ];
  for (const [search, asked, answered] of rows) {
    const h = new StackHarness(search === null ? {} : { search });
    h.push(dhcp(message(11, ...asked)));
    assertEquals(h.reply().payload.slice(8), message(7, ...answered));
  }
});

Deno.test("dhcp6: a question from a global address is answered from one", () => {
  const h = new StackHarness();
  h.push(dhcp(message(11, ASK_DNS), GUEST6));
  const reply = h.reply();
  assertEquals([reply.source, reply.destination], [GATEWAY6, GUEST6]);
});

Deno.test("dhcp6: a server's messages from the guest are dropped by role", () => {
  const h = new StackHarness();
  for (const type of [2, 7, 10]) {
    h.drops(dhcp(message(type, CLIENT_ID, SERVER_ID)), "drop.role");
  }
});

Deno.test("dhcp6: malformed, relayed, unicast or another server's is dropped", () => {
  const h = new StackHarness();
  const bad = [
    new Uint8Array(0),
    Uint8Array.of(11, 0, 0),
    message(0),
    message(12),
    message(13),
    message(255),
    message(11, Uint8Array.of(0, 6, 0)),
    message(11, Uint8Array.of(0, 6, 0, 3, 0, 23)),
    message(11, Uint8Array.of(0, 6, 255, 255, 0, 23)),
    message(11, option(1, new Uint8Array(0))),
    message(11, option(1, new Uint8Array(131))),
    message(11, option(2, concat([0, 3, 0, 1], mac(GUEST_MAC)))),
    message(11, option(2, concat([0, 1, 0, 1], mac(GATEWAY_MAC)))),
    message(11, option(2, concat(SERVER_DUID, [0]))),
  ];
  for (const data of bad) h.drops(dhcp(data), "drop.dhcp");
  h.drops(dhcp(message(11, ASK_DNS), GUEST_LL, GATEWAY_LL), "drop.dhcp");
});

Deno.test("dhcp6: any octets are survived, and an honest client is served afterwards", () => {
  const honest = dhcp(message(11, CLIENT_ID, ASK_BOTH));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (octets, headed) => {
      const h = new StackHarness();
      h.push(dhcp(headed ? message(11, octets) : octets));
      for (const frame of h.sent()) assertEquals(frame.length <= 1514, true);
      h.push(honest);
      assertEquals(h.reply().payload[8], 7);
    }),
    { numRuns: 300 },
  );
});
