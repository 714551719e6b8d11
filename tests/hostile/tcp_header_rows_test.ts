/** Row 25: headers and options of TCP that do not hold together. */
import { assertEquals } from "@std/assert";
import { concat, GUEST4, GUEST6, sealed, u16, u32 } from "../support/packets.ts";
import { HOST4, HOST6, sink } from "../support/virtual_host.ts";
import { type Flow, guestBytes, HostileGuest } from "./hostile_guest.ts";
import { toHost } from "./probe.ts";

const SYN = 2, ACK = 16;
const NOP = 1, END = 0;

/** A segment of the guest's, octet by octet. */
interface Raw {
  readonly flags: number;
  readonly options?: readonly number[];
  /** Data offset as it stands in the header. Default: the right one, of options in whole words. */
  readonly offset?: number;
  readonly data?: Uint8Array;
  /** How many octets of the segment there are. */
  readonly bytes?: number;
}

/** The frame of such a segment; it is the flow's next one. */
function frame(flow: Flow, raw: Raw): Uint8Array {
  const { flags, options = [], data = new Uint8Array(0) } = raw;
  const isSyn = (flags & SYN) !== 0;
  const bytes = concat(
    u16(flow.guestPort),
    u16(flow.hostPort),
    u32((flow.isn + (isSyn ? 0 : 1)) >>> 0),
    u32(isSyn ? 0 : (flow.iss + 1) >>> 0),
    [(raw.offset ?? 5 + options.length / 4) << 4, flags],
    u16(0xffff),
    u32(0),
    options,
    data,
  ).slice(0, raw.bytes);
  const family = flow.host.includes(":") ? 6 : 4;
  const guest = family === 6 ? GUEST6 : GUEST4;
  return toHost(family, 6, bytes.length < 18 ? bytes : sealed(bytes, 16, guest, flow.host, 6));
}

/** Options in whole words, each list with what its fault is. */
const BROKEN: readonly (readonly number[])[] = [
  [2, 0, NOP, NOP], // lengths of 0 and 1
  [2, 1, NOP, NOP],
  [8, 0, NOP, NOP],
  [NOP, NOP, 5, 0],
  [NOP, NOP, NOP, 2], // a kind without its length
  [NOP, NOP, NOP, 254],
  [2, 4, 5, 180, 3, 3, 7, 5], // behind right ones
  [2, 5, 5, 180], // lengths over the end
  [8, 10, 0, 0, 0, 1, 0, 0],
  [254, 255, 0, 0],
  [2, 3, 5, NOP], // not the length of their kind
  [2, 2, NOP, NOP],
  [3, 2, NOP, NOP],
  [3, 4, 7, 7],
  [4, 3, 0, NOP],
  [4, 4, 0, 0],
  [8, 9, 0, 0, 0, 1, 0, 0, 0, NOP, NOP, NOP],
  [8, 11, 0, 0, 0, 1, 0, 0, 0, 0, 0, NOP],
  [5, 2, NOP, NOP], // SACK that is not 8n + 2
  [5, 3, 0, NOP],
  [5, 6, 0, 0, 0, 1, NOP, NOP],
  [5, 9, 0, 0, 0, 1, 0, 0, 0, NOP, NOP, NOP],
  [5, 11, 0, 0, 0, 1, 0, 0, 0, 2, 0, NOP],
  [5, 14, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, NOP, NOP],
];

/** Headers that lie about their own length, and segments that end inside one. */
function lies(flags: number): Raw[] {
  const data = new Uint8Array(8).fill(NOP); // what would be read as options is fine
  return [
    ...[0, 1, 2, 3, 4].map((offset) => ({ flags, offset, data })),
    ...[8, 10, 15].map((offset) => ({ flags, offset, data })), // 28 octets there
    ...Array.from({ length: 20 }, (_, bytes) => ({ flags, bytes })),
    { flags, options: [NOP, NOP, NOP, NOP], bytes: 23 },
  ];
}

Deno.test("hostile 25: TCP headers that lie about their length are dropped", async () => {
  await using gw = await HostileGuest.start();
  const padding = new Uint8Array(60).fill(NOP);
  for (const host of [HOST4, HOST6]) {
    gw.host.listen(host, 80);
    const flow = gw.flow({ host });
    const syns = lies(SYN);
    await gw.sends(...syns.map((raw) => concat(frame(flow, raw), padding)));
    gw.silent().counts({ "drop.tcp.hdr": syns.length });
    assertEquals(gw.host.dialed, []);
    const peer = await flow.opens();
    gw.host.dialed.length = 0;
    const segments = lies(ACK);
    await gw.sends(...segments.map((raw) => concat(frame(flow, raw), padding)));
    gw.silent().counts({ "drop.tcp.hdr": segments.length });
    await flow.livesOn(peer);
  }
});

// CVE-2020-24337: an option that nobody knows, of length 0, and the walk over them never ended.
Deno.test("hostile 25: TCP options of length 0 or 1, over the end, or not of their kind's length", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80, sink);
  const flow = gw.flow();
  const unknown: number[][] = [];
  for (let kind = 2; kind < 256; kind++) {
    for (const length of [0, 1]) {
      unknown.push([kind, length, NOP, NOP], [...Array(38).fill(NOP), kind, length]);
    }
  }
  const all = [...BROKEN, ...unknown];
  for (const options of all) await gw.sends(frame(flow, { flags: SYN, options }));
  gw.silent().counts({ "drop.tcp.hdr": all.length });
  assertEquals(gw.host.dialed, []);
  await flow.opens();
  const data = guestBytes(10);
  for (const options of all) await gw.sends(frame(flow, { flags: ACK, options, data }));
  gw.silent().counts({ "drop.tcp.hdr": all.length });
  await flow.guest("P. 1:101 ack 1");
  await gw.run(10);
  flow.expects(". 1:1 ack 101");
  await flow.guest("R 101:101");
  gw.silent().counts({ "tcp.reset.received": 1 });
  await gw.empties(0);
});

Deno.test("hostile 25: TCP options that are strange, and hold together, are passed over", async () => {
  await using gw = await HostileGuest.start();
  gw.host.listen(HOST4, 80);
  const strange: number[][] = [
    Array(40).fill(NOP),
    [END, 2, 0, 0], // nothing counts behind the end
    [254, 4, 1, 2],
    [34, 2, 30, 3, 0, NOP, 253, 2, ...Array(32).fill(NOP)],
    [19, 18, ...Array(16).fill(7), NOP, NOP],
    [2, 4, 5, 180, 2, 4, 2, 24, 4, 2, 4, 2],
  ];
  for (const [i, options] of strange.entries()) {
    const flow = gw.flow({ guestPort: 41_000 + i });
    await gw.sends(frame(flow, { flags: SYN, options }));
    await gw.run(1);
    flow.expects("S. 0:0 ack 1");
    const data = guestBytes(10);
    await gw.sends(frame(flow, { flags: ACK, options, data }));
    await gw.run(10);
    flow.expects(". 1:1 ack 11");
    assertEquals(gw.host.accepted[i]!.take(), data);
    await flow.guest("R 11:11");
    gw.silent().counts({ "tcp.reset.received": 1 });
  }
  await gw.empties(0);
});
