/** Which frame a refusal is told on. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DenialMarks } from "../../lib/capture/denial_marks.ts";
import { FrameFields, readFrame } from "../../lib/capture/frame_fields.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import { answerTo, name } from "../dns/messages.ts";
import {
  ethernet,
  GATEWAY4,
  GATEWAY6,
  GUEST4,
  GUEST6,
  icmp4,
  icmp6,
  ip4,
  ip6,
  sealed,
  tcp,
  u16,
  udp,
  WORLD4,
  WORLD6,
} from "../support/packets.ts";

const fields = new FrameFields();
const NONE = new Uint8Array(0);

function denial(changes: Partial<Denial>): Denial {
  return {
    protocol: "tcp",
    name: null,
    destination: `${WORLD4}:80`,
    rule: "192.0.2.0/24",
    origin: "gateway.yaml:4",
    reason: "rule",
    detail: "a deny rule",
    hint: `policy: { deny: [] } without "192.0.2.0/24" (gateway.yaml:4)`,
    ...changes,
  };
}

function commentOf(marks: DenialMarks, frame: Uint8Array, nowMs = 0): string | null {
  const view = new DataView(frame.slice().buffer);
  readFrame(view, 0, frame.length, fields);
  const comment = marks.take(view, fields, nowMs);
  return comment === null ? null : new TextDecoder().decode(comment);
}

/** A segment with these ports. */
function segment(source: string, sourcePort: number, destination: string, port: number) {
  const bytes = tcp(source, destination, NONE, 0x14);
  bytes.set([...u16(sourcePort), ...u16(port)]);
  const whole = sealed(bytes, 16, source, destination, 6);
  return source.includes(":")
    ? ip6(whole, { source, destination, next: 6 })
    : ip4(whole, { source, destination, protocol: 6 });
}

const RESET = ethernet(segment(WORLD4, 80, GUEST4, 40_000));

/** The ICMP error about a packet. */
function errorAbout(packet: Uint8Array): Uint8Array {
  return packet[0]! >> 4 === 4
    ? ethernet(ip4(icmp4(3, 13, [0, 0, 0, 0], packet.slice(0, 28)), {
      source: GATEWAY4,
      destination: GUEST4,
      protocol: 1,
    }))
    : ethernet(
      ip6(icmp6(GATEWAY6, GUEST6, 1, 1, [0, 0, 0, 0], packet), {
        source: GATEWAY6,
        destination: GUEST6,
        next: 58,
      }),
    );
}

Deno.test("denial marks: a reset has the rule, its place, the reason and the way out, once", () => {
  const marks = new DenialMarks();
  marks.note(denial({}), 0);
  assertEquals(
    commentOf(marks, RESET),
    `denied tcp ${WORLD4}:80 by 192.0.2.0/24 (gateway.yaml:4): a deny rule; ` +
      `allow it with policy: { deny: [] } without "192.0.2.0/24" (gateway.yaml:4)`,
  );
  assert(marks.isEmpty);
  assertEquals(commentOf(marks, RESET), null);
  marks.note(denial({ name: "a.test", origin: "", hint: null }), 0);
  assertEquals(commentOf(marks, RESET), "denied tcp a.test:80 by 192.0.2.0/24: a deny rule");
});

Deno.test("denial marks: another port, address, family or protocol is not the answer", () => {
  const marks = new DenialMarks();
  marks.note(denial({}), 0);
  for (
    const frame of [
      ethernet(segment(WORLD4, 81, GUEST4, 80)),
      ethernet(segment("192.0.2.11", 80, GUEST4, 40_000)),
      ethernet(segment(WORLD6, 80, GUEST6, 40_000)),
      ethernet(ip4(udp(WORLD4, 80, GUEST4, 40_000, NONE), { source: WORLD4, protocol: 17 })),
      errorAbout(segment(GUEST4, 40_000, WORLD4, 81)),
    ]
  ) assertEquals(commentOf(marks, frame), null);
  assert(commentOf(marks, errorAbout(segment(GUEST4, 40_000, WORLD4, 80))) !== null);
});

Deno.test("denial marks: an ICMP error is the answer to a datagram and an echo, of both families", () => {
  const datagram4 = ip4(udp(GUEST4, 5_000, WORLD4, 443, NONE), { destination: WORLD4 });
  const datagram6 = ip6(udp(GUEST6, 5_000, WORLD6, 443, NONE), { destination: WORLD6 });
  const echo4 = ip4(icmp4(8, 0, [0, 1, 0, 1], NONE), { destination: WORLD4, protocol: 1 });
  const echo6 = ip6(icmp6(GUEST6, WORLD6, 128, 0, [0, 1, 0, 1], NONE), {
    destination: WORLD6,
    next: 58,
  });
  const cases: [Partial<Denial>, Uint8Array][] = [
    [{ protocol: "udp", destination: `${WORLD4}:443` }, datagram4],
    [{ protocol: "udp", destination: `[${WORLD6}]:443` }, datagram6],
    [{ protocol: "icmp", destination: WORLD4 }, echo4],
    [{ protocol: "icmp", destination: WORLD6 }, echo6],
  ];
  const marks = new DenialMarks();
  for (const [changes] of cases) marks.note(denial(changes), 0);
  for (const [changes, packet] of cases) {
    const { protocol, destination } = changes;
    assertStringIncludes(commentOf(marks, errorAbout(packet))!, `${protocol} ${destination} by`);
  }
  assert(marks.isEmpty);
});

Deno.test("denial marks: a lookup is told on the answer about its name", () => {
  const marks = new DenialMarks();
  marks.note(denial({ protocol: "dns", name: "pypi.org", destination: "" }), 0);
  const answer = (text: string) => {
    const question = Uint8Array.from([
      ...[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
      ...name(text),
      ...u16(1),
      ...u16(1),
    ]);
    const data = answerTo(question, { flags: 0x0185 });
    return ethernet(ip4(udp(GATEWAY4, 53, GUEST4, 5_000, data), {
      source: GATEWAY4,
      destination: GUEST4,
    }));
  };
  assertEquals(commentOf(marks, answer("pypi.net")), null);
  assertStringIncludes(commentOf(marks, answer("PyPI.org"))!, "denied dns pypi.org by");
});

Deno.test("denial marks: what is not answered in time, or is one of too many, is forgotten", () => {
  const marks = new DenialMarks();
  marks.note(denial({}), 0);
  assertEquals(commentOf(marks, RESET, 1_001), null);
  assert(marks.isEmpty);
  marks.note(denial({ destination: "nonsense" }), 0);
  assert(marks.isEmpty);
  marks.note(denial({}), 0);
  for (let port = 1; port <= 32; port++) marks.note(denial({ destination: `10.0.0.1:${port}` }), 0);
  assertEquals(commentOf(marks, RESET), null, "the oldest went");
});
