/**
 * Flows of the guest that are looked into, and what becomes of them.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Denial } from "../../lib/policy/denial.ts";
import {
  ascii,
  clientHello,
  type Extension,
  inRecords,
  PLAIN_EXTENSIONS,
  serverName,
} from "../inspect/hellos.ts";
import { guestPolicy, type PolicySpec } from "../support/policy.ts";
import type { VirtualGatewayOptions } from "../support/virtual_gateway.ts";
import { HOST4, HOST6 } from "../support/virtual_host.ts";
import type { VirtualPeer } from "../support/virtual_socket.ts";
import { type Flow, type FlowOptions, HostileGuest } from "./hostile_guest.ts";
import { Resolver } from "./resolver.ts";

/** What opens a flow. */
export const SYN = "S 0:0 <mss 1460>";
/** What is counted for a flow that its first bytes have refused. */
export const REFUSED = { "policy.refused": 1, "tcp.reset.sent": 1 } as const;

/** A gateway where `allowed.example` is allowed, and was looked up. */
export async function start(
  spec: PolicySpec = { allow: ["allowed.example", "*.below.example"] },
  options: VirtualGatewayOptions = {},
): Promise<{ gw: HostileGuest; resolver: Resolver; denials: Denial[] }> {
  const denials: Denial[] = [];
  const gw = await HostileGuest.start({
    policy: guestPolicy(spec),
    onDenial: (denial) => void denials.push(denial),
    ...options,
  });
  const resolver = new Resolver(gw, {
    "allowed.example": [HOST4, HOST6],
    "b.below.example": [HOST4],
  });
  await resolver.lookUp("allowed.example");
  gw.forget();
  return { gw, resolver, denials };
}

/** A hello for a name, with these extensions beside it. */
export function helloFor(name: string | null, ...more: readonly Extension[]): Uint8Array {
  const own = name === null ? [] : [serverName(name)];
  return inRecords(clientHello({ extensions: [...own, ...PLAIN_EXTENSIONS, ...more] }));
}

/** A request for a host. */
export function requestFor(host: string | null, head = "GET / HTTP/1.1"): Uint8Array {
  const line = host === null ? "" : `Host: ${host}\r\n`;
  return Uint8Array.from(ascii(`${head}\r\n${line}Accept: */*\r\n\r\n`));
}

/** The guest's flow with these first words: the host's end where the gateway lets it through. */
export async function speak(
  gw: HostileGuest,
  words: Uint8Array,
  options: FlowOptions = {},
): Promise<{ flow: Flow; peer: VirtualPeer | null }> {
  const before = gw.host.accepted.length;
  const flow = gw.flow({ hostPort: 443, ...options });
  await flow.opensToSay(words);
  await flow.speaks();
  await gw.run(50);
  return { flow, peer: gw.host.accepted[before] ?? null };
}

/** It was let through: the host has all of it, and an RST ends it on both sides. */
export async function passes(gw: HostileGuest, words: Uint8Array, options: FlowOptions = {}) {
  const { flow, peer } = await speak(gw, words, options);
  assert(peer !== null, "it was let through");
  assertEquals(peer.take(), words);
  const end = words.length + 1;
  flow.expects(`. 1:1 ack ${end}`);
  await flow.guest(`R ${end}:${end}`);
  gw.silent().counts({ "tcp.reset.received": 1 });
  assert(peer.isClosed);
}

/** It was not: an RST, nothing was dialled, and nothing is left. */
export async function refuses(
  gw: HostileGuest,
  denials: Denial[],
  words: Uint8Array,
  reason: string,
  options: FlowOptions = {},
): Promise<Denial> {
  const dialed = gw.host.dialed.length;
  const { flow } = await speak(gw, words, options);
  const resets = flow.sent().filter(({ flags }) => flags.includes("R"));
  assertEquals(resets.length, 1, "an RST");
  gw.silent().counts(REFUSED);
  assertEquals(gw.host.dialed.length, dialed, "nothing was dialled");
  assert(gw.isEmpty, JSON.stringify(gw.figures()));
  const denial = denials.at(-1)!;
  assertEquals(denial.reason, reason, denial.detail);
  return denial;
}
