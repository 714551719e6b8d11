/**
 * How a VMM joins: the arguments that QEMU and libkrun take for an endpoint.
 *
 * @module
 */
import type { Endpoint } from "../config/endpoint.ts";
import { shellQuote } from "../config/permission_line.ts";

/** What the arguments are made from. */
export interface JoinOptions {
  /** Who listens: the gateway, or the VMM. */
  readonly mode: "listen" | "connect";
  /** The guest's MAC address. */
  readonly guestMac: string;
  /** The link's MTU, in bytes. */
  readonly mtu: number;
}

/** Ethernet's own MTU, which a device has without being told. */
const MTU_ETHERNET = 1_500;

/**
 * QEMU's arguments.
 *
 * @param endpoint Where gateway and VMM meet; a path is best absolute.
 * @param options Who listens, and what the device must know.
 * @returns Arguments for a POSIX shell.
 */
export function qemuArguments(endpoint: Endpoint, options: JoinOptions): string {
  const address = endpoint.transport === "unix"
    ? `addr.type=unix,addr.path=${comma(endpoint.path)}`
    : `addr.type=inet,addr.host=${endpoint.hostname},addr.port=${endpoint.port}`;
  const server = options.mode === "connect" ? "on" : "off";
  const mtu = options.mtu === MTU_ETHERNET ? "" : `,host_mtu=${options.mtu}`;
  return [
    "-netdev",
    `stream,id=net0,server=${server},${address}`,
    "-device",
    `virtio-net-pci,netdev=net0,mac=${options.guestMac}${mtu}`,
  ].map(shellQuote).join(" ");
}

/**
 * libkrun's call, which joins unix sockets that the gateway listens on.
 *
 * @param endpoint Where gateway and VMM meet.
 * @param options Who listens.
 * @returns The call in C, or what to do instead.
 */
export function libkrunCall(endpoint: Endpoint, options: JoinOptions): string {
  if (endpoint.transport !== "unix") return "libkrun joins unix sockets only";
  if (options.mode === "connect") return "libkrun does not listen";
  return `krun_add_net_unixstream(ctx, ${JSON.stringify(endpoint.path)}, -1, mac, 0, 0)`;
}

/** QEMU doubles a comma inside a value. */
function comma(text: string): string {
  return text.replaceAll(",", ",,");
}
