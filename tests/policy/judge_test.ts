import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Judge, type ProtectLevel, type Verdict } from "../../lib/policy/judge.ts";
import { parseIp } from "../../lib/wire/address.ts";
import { IpProtocol } from "../../lib/wire/ipv4.ts";

const LEVELS: ProtectLevel[] = ["off", "metadata", "strict"];
const { tcp, udp, icmp } = IpProtocol;

function bytesOf(text: string): Uint8Array {
  const bytes = parseIp(text);
  assert(bytes !== null, text);
  return bytes;
}

function reasonOf(verdict: Verdict): string {
  return verdict.allow ? "allow" : verdict.reason;
}

/** Destinations and what becomes of them at the levels off, metadata, strict. */
const TABLE: Record<string, [off: string, metadata: string, strict: string]> = {
  "8.8.8.8": ["allow", "allow", "allow"],
  "2606:4700::1111": ["allow", "allow", "allow"],
  "169.254.169.254": ["allow", "metadata", "metadata"],
  "fd00:ec2::254": ["allow", "metadata", "metadata"],
  "168.63.129.16": ["allow", "metadata", "metadata"],
  "169.254.1.1": ["allow", "link-local", "link-local"],
  "fe80::1": ["allow", "link-local", "link-local"],
  "10.0.0.1": ["allow", "allow", "private"],
  "172.16.0.1": ["allow", "allow", "private"],
  "192.168.0.1": ["allow", "allow", "private"],
  "100.64.0.1": ["allow", "allow", "private"],
  "fd12::1": ["allow", "allow", "private"],
  "64:ff9b::10.0.0.1": ["allow", "allow", "private"],
  "127.0.0.1": ["loopback", "loopback", "loopback"],
  "::1": ["loopback", "loopback", "loopback"],
  "0.0.0.0": ["unspecified", "unspecified", "unspecified"],
  "::": ["unspecified", "unspecified", "unspecified"],
  "224.0.0.1": ["multicast", "multicast", "multicast"],
  "ff02::1": ["multicast", "multicast", "multicast"],
  "255.255.255.255": ["broadcast", "broadcast", "broadcast"],
  "240.0.0.1": ["reserved", "reserved", "reserved"],
  "2001:db8::1": ["reserved", "reserved", "reserved"],
  "::ffff:127.0.0.1": ["loopback", "loopback", "loopback"],
  "::ffff:0.0.0.0": ["unspecified", "unspecified", "unspecified"],
  "::ffff:169.254.169.254": ["reserved", "reserved", "reserved"],
  "64:ff9b::127.0.0.1": ["loopback", "loopback", "loopback"],
  "2002:7f00:1::1": ["loopback", "loopback", "loopback"],
};

Deno.test("each level refuses its columns of the table, for any port and protocol", () => {
  for (const [text, expected] of Object.entries(TABLE)) {
    LEVELS.forEach((protect, i) => {
      const judge = new Judge({ protect });
      for (const [port, protocol] of [[80, tcp], [53, udp], [0, icmp]] as const) {
        const verdict = judge.judge(bytesOf(text), port, protocol);
        assertEquals(reasonOf(verdict), expected[i], `${text} at ${protect}`);
      }
    });
  }
});

Deno.test("a stricter level allows nothing that a weaker one refuses", () => {
  const judges = LEVELS.map((protect) => new Judge({ protect }));
  const address = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    fc.constantFrom(...Object.keys(TABLE)).map(bytesOf),
  );
  fc.assert(fc.property(address, (bytes) => {
    const allowed = judges.map((judge) => judge.judge(bytes, 443, tcp).allow);
    assert(allowed[0] || !allowed[1]);
    assert(allowed[1] || !allowed[2]);
  }));
});

Deno.test("the host's own addresses are refused at the strict level only", () => {
  const own = ["192.168.1.5", "198.51.101.7", "2606::5"].map(bytesOf);
  const reached = ["198.51.101.7", "2606::5", "64:ff9b::198.51.101.7", "2002:c633:6507::1"];
  for (const protect of LEVELS) {
    const judge = new Judge({ protect, own });
    for (const text of reached) {
      const expected = protect === "strict" ? "host" : "allow";
      assertEquals(reasonOf(judge.judge(bytesOf(text), 22, tcp)), expected, `${text} ${protect}`);
    }
    assertEquals(reasonOf(judge.judge(bytesOf("198.51.101.8"), 22, tcp)), "allow");
  }
});

Deno.test("an own address that shows only after the dial is judged then", () => {
  const found = bytesOf("198.51.101.7");
  for (const protect of LEVELS) {
    const judge = new Judge({ protect });
    assertEquals(reasonOf(judge.judge(found, 22, tcp)), "allow");
    const expected = protect === "strict" ? "host" : "allow";
    assertEquals(reasonOf(judge.judgeOwn(found, 22, tcp)), expected);
  }
});

Deno.test("a socket of the gateway at one address is refused at every level", () => {
  const host = bytesOf("192.168.1.5");
  for (const protect of ["off", "metadata"] as const) {
    const judge = new Judge({ protect });
    judge.addOwnSocket(host, 8080, tcp);
    assertEquals(reasonOf(judge.judge(host, 8080, tcp)), "own socket");
    assertEquals(reasonOf(judge.judge(bytesOf("64:ff9b::192.168.1.5"), 8080, tcp)), "own socket");
    assertEquals(reasonOf(judge.judge(host, 8081, tcp)), "allow");
    assertEquals(reasonOf(judge.judge(host, 8080, udp)), "allow");
    assertEquals(reasonOf(judge.judge(bytesOf("192.168.1.6"), 8080, tcp)), "allow");
    assertEquals(reasonOf(judge.judgeOwn(host, 8080, tcp)), "own socket");
  }
});

Deno.test("a socket of the gateway at all addresses is refused wherever the host is", () => {
  for (const everywhere of ["0.0.0.0", "::"]) {
    const judge = new Judge({ protect: "off", own: [bytesOf("192.168.1.5")] });
    judge.addOwnSocket(bytesOf(everywhere), 8080, tcp);
    assertEquals(reasonOf(judge.judge(bytesOf("192.168.1.5"), 8080, tcp)), "own socket");
    assertEquals(reasonOf(judge.judge(bytesOf("8.8.8.8"), 8080, tcp)), "allow");
    assertEquals(reasonOf(judge.judgeOwn(bytesOf("10.9.8.7"), 8080, tcp)), "own socket");
    assertEquals(reasonOf(judge.judgeOwn(bytesOf("10.9.8.7"), 8081, tcp)), "allow");
  }
});

Deno.test("the mapped loopback is reached at every level, but not the gateway's sockets there", () => {
  const here = bytesOf("127.0.0.1");
  for (const protect of LEVELS) {
    const judge = new Judge({ protect });
    judge.addOwnSocket(here, 9000, tcp);
    judge.addOwnSocket(bytesOf("::"), 9001, tcp);
    assertEquals(reasonOf(judge.judgeLoopback(here, 3128, tcp)), "allow");
    assertEquals(reasonOf(judge.judgeLoopback(here, 9000, tcp)), "own socket");
    assertEquals(reasonOf(judge.judgeLoopback(bytesOf("::1"), 9000, tcp)), "allow");
    assertEquals(reasonOf(judge.judgeLoopback(here, 9001, tcp)), "own socket");
  }
});
