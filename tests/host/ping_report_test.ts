/** What ping's words mean: as iputils 20221126 and busybox 1.35 printed them. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type PingOutcome, type PingRun, readPingReport } from "../../lib/host/ping_report.ts";
import { IcmpReason } from "../../lib/stack/icmp_errors.ts";
import { parseIp } from "../../lib/wire/address.ts";

const ANSWERED: PingOutcome = { kind: "answered" };
const SILENT: PingOutcome = { kind: "silent" };

function run(more: Partial<PingRun> & { readonly to?: string } = {}): PingOutcome {
  const { to = "10.99.0.2", ...rest } = more;
  return readPingReport({
    code: 0,
    stdout: "",
    stderr: "",
    address: parseIp(to)!,
    dataBytes: 56,
    ...rest,
  });
}

function iputils(to: string, line: string, received = 1): string {
  return `PING ${to} (${to}) 56(84) bytes of data.\n${line}\n\n--- ${to} ping statistics ---\n` +
    `1 packets transmitted, ${received} received, 0% packet loss, time 0ms\n` +
    "rtt min/avg/max/mdev = 0.189/0.189/0.189/0.000 ms\n";
}

const TIMED = "ttl=64 time=0.189 ms";

Deno.test("ping report: an answer of either program, of any size", () => {
  const line = `64 bytes from 10.99.0.2: icmp_seq=1 ${TIMED}`;
  assertEquals(run({ stdout: iputils("10.99.0.2", line) }), ANSWERED);
  const large = "60008 bytes from ::1: icmp_seq=1 ttl=64 time=0.143 ms";
  assertEquals(run({ stdout: iputils("::1", large), to: "::1", dataBytes: 60_000 }), ANSWERED);
  const small = "12 bytes from 10.99.0.2: icmp_seq=1 ttl=64";
  assertEquals(run({ stdout: iputils("10.99.0.2", small), dataBytes: 4 }), ANSWERED);
  const busybox =
    "PING ::1 (::1): 56 data bytes\n64 bytes from ::1: seq=0 ttl=64 time=0.056 ms\n\n" +
    "--- ::1 ping statistics ---\n1 packets transmitted, 1 packets received, 0% packet loss\n";
  assertEquals(run({ stdout: busybox, to: "::1" }), ANSWERED);
  const long = `64 bytes from 2001:0db8::0001: icmp_seq=1 ${TIMED}`;
  assertEquals(run({ stdout: iputils("2001:db8::1", long), to: "2001:db8::1" }), ANSWERED);
});

Deno.test("ping report: what is not whole, or from elsewhere, is no answer", () => {
  const lines = [
    `64 bytes from 10.99.0.3: icmp_seq=1 ${TIMED}`,
    `64 bytes from ::1: icmp_seq=1 ${TIMED}`,
    `63 bytes from 10.99.0.2: icmp_seq=1 ${TIMED}`,
    `64 bytes from 10.99.0.2: icmp_seq=2 ${TIMED}`,
    `64 bytes from 10.99.0.2: icmp_seq=1 ${TIMED} (DIFFERENT ADDRESS!)`,
    `64 bytes from 10.99.0.2: icmp_seq=1 ${TIMED} (truncated)`,
    `64 bytes from 10.99.0.2: icmp_seq=1 ${TIMED}\nwrong data byte #16 should be 0x10 but was 0x0`,
    ` 64 bytes from 10.99.0.2: icmp_seq=1 ${TIMED}`,
    `64 bytes from host.example (10.99.0.2): icmp_seq=1 ${TIMED}`,
    "",
  ];
  for (const line of lines) {
    assertEquals(run({ stdout: iputils("10.99.0.2", line) }), SILENT, line);
  }
  const line = `64 bytes from 10.99.0.2: icmp_seq=1 ${TIMED}`;
  assertEquals(run({ stdout: iputils("10.99.0.2", line, 0) }), SILENT);
  assertEquals(run({ stdout: line }), SILENT, "without the last line");
  assertEquals(run({ stdout: iputils("10.99.0.2", line), code: 1 }), SILENT);
});

Deno.test("ping report: an error that iputils has matched with its request", () => {
  const rows: [string, keyof typeof IcmpReason][] = [
    ["Packet filtered", "adminProhibited"],
    ["Destination Host Unreachable", "hostUnreachable"],
    ["Destination Net Unreachable", "networkUnreachable"],
    ["Destination Port Unreachable", "portUnreachable"],
    ["Time to live exceeded", "timeExceeded"],
    ["Destination unreachable: Administratively prohibited", "adminProhibited"],
    ["Destination unreachable: No route", "networkUnreachable"],
    ["Destination unreachable: Address unreachable", "hostUnreachable"],
    ["Time exceeded: Hop limit", "timeExceeded"],
  ];
  for (const [words, reason] of rows) {
    for (const from of ["10.99.0.1 ", "10.99.0.1: ", "fe80::1%eth0 "]) {
      const stdout = iputils("10.9.9.9", `From ${from}icmp_seq=1 ${words}`, 0);
      const outcome: PingOutcome = { kind: "error", reason: IcmpReason[reason] };
      assertEquals(run({ stdout, code: 1 }), outcome, words);
    }
  }
  for (const words of ["Frag needed and DF set (mtu = 1400)", "Redirect Host", "toString", "x"]) {
    const stdout = iputils("10.9.9.9", `From 10.99.0.1 icmp_seq=1 ${words}`, 0);
    assertEquals(run({ stdout, code: 1 }), SILENT, words);
  }
  const warning = "ping: warning: got ICMP 3 (Destination Unreachable)\n";
  assertEquals(run({ code: 1, stderr: warning }), SILENT, "busybox");
});

Deno.test("ping report: what the host itself could not send", () => {
  const error = (reason: keyof typeof IcmpReason): PingOutcome => {
    return { kind: "error", reason: IcmpReason[reason] };
  };
  const rows: [number, string, PingOutcome][] = [
    [2, "/usr/bin/ping: connect: Network is unreachable", error("networkUnreachable")],
    [2, "/usr/bin/ping: connect: Cannot assign requested address", error("networkUnreachable")],
    [1, "ping: sendto: Network is unreachable", error("networkUnreachable")],
    [1, "ping: sendmsg: Operation not permitted", error("adminProhibited")],
    [2, "/usr/bin/ping: connect: Invalid argument", SILENT],
    [1, "ping: permission denied (are you root?)", {
      kind: "failed",
      text: "permission denied (are you root?)",
    }],
    [2, "/usr/bin/ping: socket: Operation not permitted", {
      kind: "failed",
      text: "socket: Operation not permitted",
    }],
    [2, "", { kind: "failed", text: "it ended with 2" }],
    [127, "", { kind: "failed", text: "it ended with 127" }],
  ];
  for (const [code, line, outcome] of rows) {
    assertEquals(run({ code, stderr: `${line}\n` }), outcome, line);
  }
});

Deno.test("ping report: no other text is an answer", () => {
  const words = fc.constantFrom(
    ...["64 bytes from ", "10.99.0.2", ": icmp_seq=1 ttl=64", "\n", "From ", " icmp_seq=1 "],
    ...["1 packets transmitted, ", "received,", "0 ", "10.99.0.1", "Packet filtered", "ping: "],
  );
  const text = fc.oneof(fc.string(), fc.array(words).map((parts) => parts.join("")));
  fc.assert(
    fc.property(text, text, fc.nat(3), (stdout, stderr, code) => {
      const outcome = run({ stdout, stderr, code });
      if (outcome.kind === "answered") {
        assertEquals(stdout.includes("1 packets transmitted, 1 "), true);
      }
    }),
    { numRuns: 500 },
  );
});
