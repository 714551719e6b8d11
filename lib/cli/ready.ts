/**
 * How a VMM joins: the arguments that each of them takes for an endpoint.
 *
 * @module
 */
import type { Endpoint, Framing, VmmEndpoint } from "../config/endpoint.ts";
import { shellQuote } from "../config/permission_line.ts";

/** What the arguments are made from. */
export interface JoinOptions {
  /** Who listens: the gateway, or the VMM. */
  readonly mode: "listen" | "connect";
  /** How a stream's frames are told apart. */
  readonly framing: Framing;
  /** The guest's MAC address. */
  readonly guestMac: string;
  /** The link's MTU, in bytes. */
  readonly mtu: number;
  /** Whether the guest's device takes segments longer than that. */
  readonly offload: boolean;
}

/** Ethernet's own MTU, which a device has without being told. */
const MTU_ETHERNET = 1_500;
/** The features of libkrun's device with which its guest sends and takes large segments. */
const KRUN_FEATURES = ["CSUM", "GUEST_CSUM", "GUEST_TSO4", "GUEST_TSO6", "HOST_TSO4", "HOST_TSO6"]
  .map((name) => `NET_FEATURE_${name}`).join(" | ");

/**
 * What to give each VMM that can join. Who has no argument for large segments, or for the header of
 * virtio-net, is not among them.
 *
 * @param endpoint Where gateway and VMM meet; a path is best absolute.
 * @param options Who listens, and what the device must know.
 * @returns Pairs of a VMM's name and its arguments, for a POSIX shell, or its call in C.
 */
export function joinWays(endpoint: VmmEndpoint, options: JoinOptions): [string, string][] {
  const { mode, framing, guestMac, offload } = options;
  switch (endpoint.transport) {
    case "stdio":
    case "vsock":
      return [];
    case "unixgram": {
      const { path } = endpoint;
      const own = `${path}.vmm`;
      const offloading = offload ? "on" : "off";
      const krun = `virtio-net,type=unixgram,path=${path},mac=${guestMac},offloading=${offloading}`;
      if (offload) return [["krunkit", words("--device", krun)]];
      return [
        ["vfkit", words("--device", `virtio-net,unixSocketPath=${path},mac=${guestMac}`)],
        ["krunkit", words("--device", krun)],
        ["QEMU", qemuDatagrams(path, own, options)],
      ];
    }
  }
  if (framing === "hyperkit") {
    if (endpoint.transport !== "unix" || mode === "connect") return [];
    return [["hyperkit", words("-s", `1:0,virtio-vpnkit,path=${endpoint.path}`)]];
  }
  if (framing === "stream-vnet") return [];
  const qemu: [string, string][] = offload ? [] : [["QEMU", qemuStream(endpoint, options)]];
  if (endpoint.transport !== "unix" || mode === "connect") return qemu;
  const place = JSON.stringify(endpoint.path);
  const features = offload ? KRUN_FEATURES : "0";
  return [...qemu, ["libkrun", `krun_add_net_unixstream(ctx, ${place}, -1, mac, ${features}, 0)`]];
}

function qemuStream(endpoint: Endpoint, options: JoinOptions): string {
  const address = endpoint.transport === "unix"
    ? `addr.type=unix,addr.path=${comma(endpoint.path)}`
    : `addr.type=inet,addr.host=${endpoint.hostname},addr.port=${endpoint.port}`;
  const server = options.mode === "connect" ? "on" : "off";
  return words("-netdev", `stream,id=net0,server=${server},${address}`, ...device(options));
}

function qemuDatagrams(path: string, own: string, options: JoinOptions): string {
  const local = `local.type=unix,local.path=${comma(own)}`;
  const remote = `remote.type=unix,remote.path=${comma(path)}`;
  return words("-netdev", `dgram,id=net0,${local},${remote}`, ...device(options));
}

/** QEMU's network card. */
function device({ guestMac, mtu }: JoinOptions): string[] {
  const hostMtu = mtu === MTU_ETHERNET ? "" : `,host_mtu=${mtu}`;
  return ["-device", `virtio-net-pci,netdev=net0,mac=${guestMac}${hostMtu}`];
}

function words(...list: string[]): string {
  return list.map(shellQuote).join(" ");
}

/** QEMU doubles a comma inside a value. */
function comma(text: string): string {
  return text.replaceAll(",", ",,");
}
