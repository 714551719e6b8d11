import { policyOf, type PolicySpec } from "../support/policy.ts";
import { assert, assertEquals } from "@std/assert";
import type { ProtectLevel } from "../../lib/config/options.ts";
import {
  canBind,
  Destinations,
  type DestinationsOptions,
  type DestinationVerdict,
} from "../../lib/host/destinations.ts";
import { ServiceZone } from "../../lib/dns/service_zone.ts";
import { Pins } from "../../lib/policy/pins.ts";
import { GATEWAY4, GATEWAY6, GATEWAY_LL, ip } from "../support/packets.ts";

const GATEWAY_ADDRESSES = [GATEWAY4, GATEWAY6, GATEWAY_LL];
/** Addresses that the host of these tests says are its own. */
const OWN4 = "203.0.114.9";
const OWN6 = "2606:4700::9";

interface Setup extends Omit<Partial<DestinationsOptions>, "policy">, PolicySpec {
  ports?: readonly number[];
  udpPorts?: readonly number[];
}

function make(setup: Setup = {}): Destinations {
  const { ports = [], udpPorts = [], protect = "metadata", allow = [], deny = [], ...options } =
    setup;
  return new Destinations({
    policy: policyOf({ protect, allow, deny }),
    isProxied: false,
    hostLoopback: false,
    hostServices: [],
    gatewayIp4: ip(GATEWAY4),
    gatewayIp6: ip(GATEWAY6),
    gatewayLinkLocal: ip(GATEWAY_LL),
    ownPorts: (protocol) => new Set(protocol === "tcp" ? ports : udpPorts),
    now: () => 0,
    canBind: (hostname) => hostname === OWN4 || hostname === OWN6,
    ...options,
  });
}

function summary(verdict: DestinationVerdict): string {
  switch (verdict.kind) {
    case "silent":
      return "no: nothing listens";
    case "unreachable":
      return "no: nobody is there";
    case "deny":
      return `no: ${verdict.denial.reason}`;
    case "inspect":
      return "inspect";
    case "dial": {
      const { hostnames, port, own } = verdict.target;
      return `${hostnames.join(",")} ${port}${own ? " own" : ""}`;
    }
  }
}

function judge(setup: Setup, address: string, port: number, protocol: "tcp" | "udp" = "tcp") {
  return summary(make(setup).judge(ip(address), port, protocol));
}

Deno.test("destinations: a public address is dialled as its canonical literal", () => {
  const table: [address: string, literal: string][] = [
    ["1.1.1.1", "1.1.1.1"],
    ["8.8.8.8", "8.8.8.8"],
    ["2606:4700:0000:0000:0000:0000:0000:1111", "2606:4700::1111"],
    ["2001:4860:4860:0:0:0:0:8888", "2001:4860:4860::8888"],
    ["64:ff9b::808:808", "64:ff9b::808:808"],
  ];
  for (const [address, literal] of table) {
    assertEquals(judge({}, address, 443), `${literal} 443`);
    assertEquals(judge({}, address, 443, "udp"), `${literal} 443`);
  }
});

Deno.test("destinations: the gateway's address leads nowhere unless a way was opened", () => {
  for (const address of GATEWAY_ADDRESSES) {
    for (const protocol of ["tcp", "udp"] as const) {
      for (const protect of ["off", "metadata", "strict"] as const) {
        assertEquals(judge({ protect }, address, 80, protocol), "no: nothing listens");
      }
    }
  }
});

Deno.test("destinations: hostLoopback opens every port, the guest's family first", () => {
  for (const protect of ["off", "metadata", "strict"] as const) {
    const setup: Setup = { hostLoopback: true, protect };
    assertEquals(judge(setup, GATEWAY4, 80), "127.0.0.1,::1 80 own");
    assertEquals(judge(setup, GATEWAY6, 80), "::1,127.0.0.1 80 own");
    assertEquals(judge(setup, GATEWAY_LL, 65_535, "udp"), "::1,127.0.0.1 65535 own");
  }
});

Deno.test("destinations: hostServices open single ports, and lead to others", () => {
  const hostServices = [{ gatewayPort: 80, hostPort: 8080 }, { gatewayPort: 5432, hostPort: 5432 }];
  assertEquals(judge({ hostServices }, GATEWAY4, 80), "127.0.0.1,::1 8080 own");
  assertEquals(judge({ hostServices }, GATEWAY6, 5432), "::1,127.0.0.1 5432 own");
  assertEquals(judge({ hostServices }, GATEWAY4, 8080), "no: nothing listens");
  assertEquals(judge({ hostServices }, GATEWAY4, 81), "no: nothing listens");
  const both: Setup = { hostServices, hostLoopback: true };
  assertEquals(judge(both, GATEWAY4, 80), "127.0.0.1,::1 8080 own");
  assertEquals(judge(both, GATEWAY4, 81), "127.0.0.1,::1 81 own");
});

Deno.test("destinations: the gateway's own sockets can't be reached over the host's loopback", () => {
  const setup: Setup = { hostLoopback: true, ports: [7654] };
  const refused = "no: own-socket";
  for (const address of GATEWAY_ADDRESSES) assertEquals(judge(setup, address, 7654), refused);
  assertEquals(judge(setup, GATEWAY4, 7655), "127.0.0.1,::1 7655 own");
  assertEquals(judge(setup, GATEWAY4, 7654, "udp"), "127.0.0.1,::1 7654 own");
  const published: Setup = { hostLoopback: true, udpPorts: [5353] };
  for (const address of GATEWAY_ADDRESSES) {
    assertEquals(judge(published, address, 5353, "udp"), refused);
  }
  assertEquals(judge(published, GATEWAY4, 5353), "127.0.0.1,::1 5353 own");
  const hostServices = [{ gatewayPort: 80, hostPort: 7654 }, { gatewayPort: 7654, hostPort: 80 }];
  assertEquals(judge({ hostServices, ports: [7654] }, GATEWAY4, 80), refused);
  assertEquals(judge({ hostServices, ports: [7654] }, GATEWAY4, 7654), "127.0.0.1,::1 80 own");
});

Deno.test("destinations: nor over the host's other addresses", () => {
  const setup: Setup = { ports: [7654] };
  for (const own of [OWN4, OWN6]) {
    assertEquals(judge(setup, own, 7654), "no: own-socket");
    assertEquals(
      judge({ ...setup, protect: "off" }, own, 7654),
      "no: own-socket",
    );
    assertEquals(judge(setup, own, 7655), `${own} 7655`);
    assertEquals(judge(setup, own, 7654, "udp"), `${own} 7654`);
    assertEquals(judge({ udpPorts: [7654] }, own, 7654, "udp"), "no: own-socket");
    assertEquals(judge({ udpPorts: [7654] }, own, 7654), `${own} 7654`);
  }
  assertEquals(judge(setup, "8.8.8.8", 7654), "8.8.8.8 7654"); // the same port of somebody else
});

Deno.test("destinations: own ports are asked for with every question", () => {
  const ports = new Set<number>();
  const destinations = make({ hostLoopback: true, ownPorts: () => ports });
  const ask = () => summary(destinations.judge(ip(GATEWAY4), 8080, "tcp"));
  assertEquals(ask(), "127.0.0.1,::1 8080 own");
  ports.add(8080);
  assertEquals(ask(), "no: own-socket");
});

Deno.test("destinations: what each protect level refuses", () => {
  const levels: ProtectLevel[] = ["off", "metadata", "strict"];
  const table: Record<string, [string, string, string]> = {
    "8.8.8.8": ["8.8.8.8 80", "8.8.8.8 80", "8.8.8.8 80"],
    "10.0.0.1": ["10.0.0.1 80", "10.0.0.1 80", "no: protect"],
    "169.254.169.254": ["169.254.169.254 80", "no: protect", "no: protect"],
    "169.254.1.1": ["169.254.1.1 80", "no: protect", "no: protect"],
    "fd00:ec2::254": ["fd00:ec2::254 80", "no: protect", "no: protect"],
    "64:ff9b::169.254.169.254": ["64:ff9b::a9fe:a9fe 80", "no: protect", "no: protect"],
    "64:ff9b::10.0.0.1": ["64:ff9b::a00:1 80", "64:ff9b::a00:1 80", "no: protect"],
    [OWN4]: [`${OWN4} 80`, `${OWN4} 80`, "no: protect"],
    [OWN6]: [`${OWN6} 80`, `${OWN6} 80`, "no: protect"],
  };
  for (const [address, expected] of Object.entries(table)) {
    const got = levels.map((protect) => judge({ protect }, address, 80));
    assertEquals(got, expected, address);
  }
});

Deno.test("destinations: loopback is refused in every form and on every level", () => {
  const forms = [
    "127.0.0.1",
    "127.255.0.9",
    "::1",
    "0.0.0.0",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::0.0.0.0",
    "2002:7f00:1::1",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
  ];
  for (const protect of ["off", "metadata", "strict"] as const) {
    for (const hostLoopback of [false, true]) {
      const destinations = make({ protect, hostLoopback });
      for (const form of forms) {
        for (const protocol of ["tcp", "udp"] as const) {
          const verdict = destinations.judge(ip(form), 80, protocol);
          assert(verdict.kind === "deny", `${form} at ${protect}`);
        }
      }
    }
  }
});

Deno.test("destinations: an address that begins like the gateway's is somebody else", () => {
  const setup: Setup = { hostLoopback: true };
  assertEquals(judge(setup, "100.96.0.9", 80), "100.96.0.9 80");
  assertEquals(judge(setup, "fd53:4d00::9", 80), "fd53:4d00::9 80");
});

Deno.test("destinations: after a dial an own address shows in its two ends", () => {
  const address = (hostname: string, port: number): Deno.NetAddr => ({
    transport: "tcp",
    hostname,
    port,
  });
  const local = address(OWN4, 50_000);
  const cases: [ProtectLevel, Deno.NetAddr, boolean][] = [
    ["metadata", address(OWN4, 7654), true], // a port of the gateway's
    ["metadata", address(OWN4, 80), false],
    ["strict", address(OWN4, 80), true],
    ["strict", address("8.8.8.8", 80), false],
    ["metadata", address("8.8.8.8", 7654), false],
  ];
  for (const [protect, remote, forbidden] of cases) {
    const destinations = make({ protect, ports: [7654] });
    const grounds = { name: null, inspected: null, rule: null };
    assertEquals(destinations.judgeConnected(local, remote, grounds) !== null, forbidden);
  }
});

Deno.test("destinations: whether an address is the host's is tried again after a while", () => {
  const clock = { nowMs: 0 };
  const asked: string[] = [];
  let own = true;
  const destinations = make({
    now: () => clock.nowMs,
    canBind: (hostname) => {
      asked.push(hostname);
      return own;
    },
  });
  assertEquals(destinations.isOwn(OWN4), true);
  own = false;
  clock.nowMs = 4_999;
  assertEquals(destinations.isOwn(OWN4), true);
  assertEquals(asked.length, 1);
  clock.nowMs = 5_000;
  assertEquals(destinations.isOwn(OWN4), false);
  assertEquals(asked, [OWN4, OWN4]);
});

Deno.test("destinations: real sockets tell the host's addresses from others", () => {
  const gateway = { gatewayIp4: ip(GATEWAY4), gatewayIp6: ip(GATEWAY6) };
  const destinations = new Destinations({
    ...gateway,
    policy: policyOf({ protect: "strict" }),
    isProxied: false,
    hostLoopback: false,
    hostServices: [],
    gatewayLinkLocal: ip(GATEWAY_LL),
    ownPorts: () => new Set(),
    now: () => 0,
    canBind,
  });
  assertEquals(destinations.isOwn("127.0.0.1"), true);
  assertEquals(destinations.isOwn("198.51.100.77"), false);
});

Deno.test("destinations: what the system can't say now is taken for own, and asked again", () => {
  const answers = [null, false];
  const destinations = make({ canBind: () => answers.shift()! });
  assertEquals(destinations.isOwn(OWN4), true);
  assertEquals(destinations.isOwn(OWN4), false);
  assertEquals(destinations.isOwn(OWN4), false);
});

Deno.test("destinations: of the gateway's own sockets a guest reaches what a fleet knows as a service", () => {
  const judged = (where: "here" | "-", spec: PolicySpec = {}) => {
    const text = `web.db tcp 80 ${where} ${OWN4}\ndns.db udp 53 ${where} ${OWN4}\n`;
    const places = new ServiceZone("fleet.internal", text);
    const destinations = make({ ports: [80, 81], udpPorts: [53, 81] });
    destinations.policy = policyOf(spec, new Pins(8), places);
    const own = { hostname: OWN4, port: 80, transport: "tcp" } as const;
    const connected = destinations.judgeConnected(
      own,
      own,
      { name: null, inspected: null, rule: null },
    );
    return [
      summary(destinations.judge(ip(OWN4), 80, "tcp")),
      summary(destinations.judge(ip(OWN4), 53, "udp")),
      connected === null ? "goes on" : `no: ${connected.reason}`,
      summary(destinations.judge(ip(OWN4), 81, "tcp")),
      summary(destinations.judge(ip(OWN4), 81, "udp")),
      summary(destinations.judge(ip(OWN6), 80, "tcp")),
    ];
  };
  const own = "no: own-socket";
  const dials = [`${OWN4} 80`, `${OWN4} 53`, "goes on"];
  assertEquals(judged("here"), [...dials, own, own, own]);
  assertEquals(judged("-"), [own, own, own, own, own, own]);
  const named = { allow: ["*.fleet.internal:53,80"] };
  const no = "no: default-deny";
  assertEquals(judged("here", { allow: ["*.fleet.internal:80/tcp"] })[0], "inspect");
  assertEquals(judged("here", named).slice(1), [`${OWN4} 53`, "no: no-name", no, no, no]);
  assertEquals(judged("-", named), ["no: rebind", "no: rebind", own, no, no, no]);
  const [strict] = judged("here", { protect: "strict" });
  assertEquals(strict, "no: protect");
});
