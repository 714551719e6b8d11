/** What gateways say of themselves: what is written is read, and of the rest nothing is believed. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type AnnouncedGuest,
  type Announcement,
  ANNOUNCEMENT_MAX_BYTES,
  encodeAnnouncement,
  encodeDeparture,
  GUEST_SERVICES_MAX,
  GUESTS_MAX,
  parseAnnouncement,
  readAnnouncement,
  readDeparture,
} from "../../lib/fleet/announcement.ts";

const GUEST: AnnouncedGuest = {
  name: "db",
  group: "ci",
  attached: true,
  flows: 3,
  denials: 2,
  upBytes: 512,
  downBytes: 9_000,
  services: [
    { name: "web", protocol: "tcp", port: 8080, addresses: ["10.0.0.5", "fd00::5"] },
    { name: "web", protocol: "udp", port: 53, addresses: ["9.9.9.9"] },
  ],
};

const SAID: Announcement = {
  gateway: "host-1",
  instance: "0123456789abcdef",
  startedMs: 1_790_000_000_000,
  revision: 17,
  policy: "in force",
  rejected: { revision: 18, why: "guest.db:1:3 no rule" },
  guests: [GUEST, { ...GUEST, name: "app", group: null, services: [] }],
};

const octets = (value: unknown) =>
  new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));

Deno.test("an announcement is read as it was written", () => {
  const { data, left } = encodeAnnouncement(SAID);
  assertEquals(readAnnouncement(data, "host-1"), SAID);
  assertEquals(left, 0);
  const bare = { ...SAID, revision: null, rejected: null, policy: "closed", guests: [] } as const;
  assertEquals(parseAnnouncement(encodeAnnouncement(bare).data, "host-1"), bare);
});

Deno.test("keys that are not known are passed over", () => {
  const text = JSON.stringify({
    v: 1,
    ...SAID,
    later: { a: [1] },
    guests: [{ ...GUEST, later: 1, services: [{ ...GUEST.services[0], later: "x" }] }],
  });
  const read = readAnnouncement(octets(text.replace('"later"', '"__proto__"')), "host-1");
  assert(typeof read !== "string", String(read));
  assertEquals(read.guests, [{ ...GUEST, services: [GUEST.services[0]!] }]);
});

const service = (change: object) => ({
  guests: [{ ...GUEST, services: [{ ...GUEST.services[0], ...change }] }],
});
const guest = (change: object) => ({ guests: [{ ...GUEST, ...change }] });

const WRONG: readonly (readonly [change: object, why: string])[] = [
  [{ v: 2 }, "v is not 1"],
  [{ gateway: "host-2" }, "gateway is not the one of its subject"],
  [{ instance: "short" }, "instance is none"],
  [{ instance: "x".repeat(33) }, "instance is none"],
  [{ startedMs: -1 }, "startedMs is no count"],
  [{ startedMs: 1e300 }, "startedMs is no count"],
  [{ revision: 1.5 }, "revision is no count"],
  [{ policy: "fine" }, "policy is none of in force, closed, stale, rejected"],
  [{ rejected: { revision: 1, why: "\u001b[2J" } }, "rejected.why is no short text"],
  [{ rejected: { revision: 1, why: "x".repeat(1_025) } }, "rejected.why is no short text"],
  [{ guests: {} }, "guests is no list"],
  [{ guests: [1] }, "a guest is no object"],
  [{ guests: Array(257).fill(1) }, "guests has 257 items, at most 256"],
  [{ guests: [GUEST, GUEST] }, "a guest is there twice"],
  [guest({ name: "-db" }), "name is no name"],
  [guest({ name: "a.b" }), "name is no name"],
  [guest({ group: 1 }), "group is no name"],
  [guest({ attached: "yes" }), "attached is no flag"],
  [guest({ flows: "3" }), "flows is no count"],
  [guest({ upBytes: null }), "upBytes is no count"],
  [guest({ services: Array(65).fill(1) }), "services has 65 items, at most 64"],
  [guest({ services: [GUEST.services[0], GUEST.services[0]] }), "a service is there twice"],
  [service({ name: "_web" }), "name is no name"],
  [service({ protocol: "icmp" }), "protocol is none of tcp, udp"],
  [service({ port: 0 }), "port is none"],
  [service({ port: 65_536 }), "port is none"],
  [service({ addresses: [] }), "addresses is empty"],
  [service({ addresses: ["10.0.0.1", "10.0.0.1"] }), "an address is there twice"],
  [service({ addresses: Array(5).fill("10.0.0.1") }), "addresses has 5 items, at most 4"],
  [service({ addresses: ["db.example"] }), "an address is no canonical literal"],
  [service({ addresses: ["10.0.0.01"] }), "an address is no canonical literal"],
  [service({ addresses: ["FD00::1"] }), "an address is no canonical literal"],
  [service({ addresses: ["fd00:0::1"] }), "an address is no canonical literal"],
];

Deno.test("one wrong value costs the whole announcement, and is named", () => {
  for (const [change, why] of WRONG) {
    assertEquals(readAnnouncement(octets({ v: 1, ...SAID, ...change }), "host-1"), why);
  }
  for (const key of Object.keys(SAID).filter((key) => key !== "rejected")) {
    const missing: Record<string, unknown> = { v: 1, ...SAID };
    delete missing[key];
    assertEquals(typeof readAnnouncement(octets(missing), "host-1"), "string", key);
  }
  for (const text of ["", "{", "1", "null", "[]", "\u{feff}{}", "[".repeat(60_000)]) {
    assertEquals(typeof readAnnouncement(octets(text), "host-1"), "string", text.slice(0, 9));
  }
  assertEquals(readAnnouncement(Uint8Array.of(0x22, 0xff, 0x22), "host-1"), "it is no JSON");
  assertEquals(readAnnouncement(octets({ v: 1, ...SAID }), "*"), "its subject names no gateway");
});

Deno.test("no announcement leads to an address that is not another host's", () => {
  for (
    const address of [
      "127.0.0.1",
      "127.9.9.9",
      "::1",
      "0.0.0.0",
      "0.1.2.3",
      "::",
      "224.0.0.1",
      "ff02::1",
      "255.255.255.255",
      "169.254.1.1",
      "169.254.169.254",
      "168.63.129.16",
      "100.100.100.200",
      "fe80::1",
      "fd00:ec2::254",
      "::ffff:10.0.0.1",
      "::ffff:a00:1",
      "64:ff9b::7f00:1",
      "64:ff9b::a9fe:a9fe",
      "2002:7f00:1::",
      "2002:a9fe:a9fe::1",
      "240.0.0.1",
    ]
  ) {
    const change = service({ addresses: [address] });
    const read = readAnnouncement(octets({ v: 1, ...SAID, ...change }), "host-1");
    assert(typeof read === "string" && /address/.test(read), `${address}: ${JSON.stringify(read)}`);
  }
});

Deno.test("what is too long is not read, and not written", () => {
  const long = octets({ v: 1, ...SAID, pad: "x".repeat(ANNOUNCEMENT_MAX_BYTES) });
  assertEquals(readAnnouncement(long, "host-1"), `${long.length} octets, at most 65536 are read`);
  const services = Array.from({ length: GUEST_SERVICES_MAX + 1 }, (_, at) => ({
    name: `service-${at}`,
    protocol: "tcp" as const,
    port: 1_000 + at,
    addresses: ["10.0.0.5"],
  }));
  const many = Array.from({ length: GUESTS_MAX + 1 }, (_, at) => ({
    ...GUEST,
    name: `g${at}`,
    services,
  }));
  const { data, left } = encodeAnnouncement({ ...SAID, guests: many });
  assert(data.length <= ANNOUNCEMENT_MAX_BYTES && data.length > ANNOUNCEMENT_MAX_BYTES - 1_000);
  const read = readAnnouncement(data, "host-1");
  assert(typeof read !== "string", String(read));
  assertEquals(read.guests.length, GUESTS_MAX);
  const said = read.guests.reduce((sum, { services: { length } }) => sum + length, 0);
  assertEquals(said + left, many.length * services.length);
  assertEquals(read.guests[0]!.services.length, GUEST_SERVICES_MAX);

  const label = (at: number) => `${at}-`.padEnd(63, "x");
  const wide = many.map((each, at) => ({ ...each, name: label(at), group: label(0) }));
  const fitted = encodeAnnouncement({ ...SAID, guests: wide });
  assert(typeof readAnnouncement(fitted.data, "host-1") !== "string");
});

Deno.test("a reason is cut, and has nothing in it that a terminal would obey", () => {
  const why = `\u001b[31m${"é".repeat(2_000)}\u202e`;
  const { data } = encodeAnnouncement({ ...SAID, rejected: { revision: 18, why } });
  const read = readAnnouncement(data, "host-1");
  assert(typeof read !== "string", String(read));
  assertEquals(read.rejected!.why, ` [31m${"é".repeat(507)}`);
});

Deno.test("a departure is read as it was written, for its own gateway alone", () => {
  const departure = { gateway: "host-1", instance: "0123456789abcdef" };
  const data = encodeDeparture(departure);
  assertEquals(readDeparture(data, "host-1"), departure);
  assertEquals(readDeparture(data, "host-2"), "gateway is not the one of its subject");
  assertEquals(readDeparture(octets("{}"), "host-1"), "v is not 1");
});

Deno.test("whatever comes, there is an announcement within its bounds, or a reason", () => {
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 4 }),
    fc.constantFrom(...WRONG.map(([change]) => change)),
  );
  const keys = fc.constantFrom(...Object.keys(SAID), "v", "x");
  fc.assert(fc.property(fc.array(fc.tuple(keys, value), { maxLength: 3 }), (changes) => {
    const data = octets({ v: 1, ...SAID, ...Object.fromEntries(changes) });
    const read = readAnnouncement(data, "host-1");
    if (typeof read === "string") return;
    const again = encodeAnnouncement(read);
    assertEquals(again.left, 0);
    assertEquals(readAnnouncement(again.data, "host-1"), read);
  }));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (data) => {
    assertEquals(typeof readAnnouncement(data, "host-1"), "string");
  }));
});
