/**
 * Starts a VM in QEMU with its network: a gateway in this process, a published port, and a policy
 * under which the guest reaches one name. The guest's console is this terminal; the program ends
 * with the VM, and the VM with the program.
 *
 *     deno run --allow-net --allow-read --allow-write --allow-run=qemu-system-x86_64 \
 *       examples/qemu.ts guest/kernel guest/initrd pypi.org
 *
 * `examples/tiny_guest/make.ts` makes a kernel and an initrd for it; any others do that have the
 * driver `virtio_net` and take their addresses by DHCP. With `--kvm` the host's processor runs the
 * guest; without it QEMU emulates one, which works everywhere and is several times slower.
 *
 * @module
 */
import {
  DEFAULT_GUEST_NETWORK,
  type Endpoint,
  formatDenial,
  GatewayError,
  serveVirtioNetwork,
  type VirtioNetworkServer,
} from "@virtio/gateway";

/** QEMU's program for VMs of this architecture. */
export const QEMU = "qemu-system-x86_64";

/** What a VM is made of. */
export interface Machine {
  /** Path of the kernel. */
  readonly kernel: string;
  /** Path of the initial file system. */
  readonly initrd: string;
  /** Where the gateway listens, or goes to. */
  readonly gateway: Endpoint;
  /** Whether QEMU is the one that listens there. */
  readonly listens?: boolean;
  /** More of `-netdev`, such as `reconnect=1`. */
  readonly netdev?: string;
  /** How much memory it has, in MiB. Default 256. */
  readonly memoryMib?: number;
  /** Whether the host's processor runs the guest, rather than QEMU's emulation of one. */
  readonly kvm?: boolean;
}

/** Where QEMU finds the gateway, in its words; it doubles a comma inside a value. */
function address(gateway: Endpoint): string {
  return gateway.transport === "unix"
    ? `addr.type=unix,addr.path=${gateway.path.replaceAll(",", ",,")}`
    : `addr.type=inet,addr.host=${gateway.hostname},addr.port=${gateway.port}`;
}

/**
 * QEMU's arguments for a VM whose console is QEMU's own standard input and output.
 *
 * @param machine What the VM is made of.
 * @returns The arguments after the program's name.
 */
export function qemuArguments(machine: Machine): string[] {
  const { kernel, initrd, gateway, netdev, memoryMib = 256, kvm = false } = machine;
  const server = machine.listens ? "server=on" : "server=off";
  const stream = ["stream", "id=net0", server, address(gateway), ...(netdev ? [netdev] : [])];
  return [
    ...["-M", "q35", "-m", `${memoryMib}`],
    ...(kvm ? ["-accel", "kvm", "-cpu", "host"] : ["-accel", "tcg", "-cpu", "max"]),
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"],
    ...["-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1"],
    ...["-netdev", stream.join(",")],
    ...["-device", `virtio-net-pci,netdev=net0,mac=${DEFAULT_GUEST_NETWORK.guestMac},romfile=`],
  ];
}

/** Says what the guest was refused, beside its console, until the server has ended. */
async function printDenials(server: VirtioNetworkServer): Promise<void> {
  for await (const event of server.events()) {
    if (event.type !== "denial") continue;
    for (const line of formatDenial(event)) console.error(line);
  }
}

/** Runs a VM to its end, or to the signal's, and gives QEMU's exit code. */
async function runVm(
  words: readonly string[],
  folder: string,
  signal: AbortSignal,
): Promise<number> {
  const [kernel = "", initrd = "", ...allow] = words.filter((word) => word !== "--kvm");
  const gateway = { transport: "unix", path: `${folder}/vm.sock` } as const;
  await using server = await serveVirtioNetwork(gateway, {
    publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] }],
    policy: { protect: "strict", allow: allow.length > 0 ? [...allow] : ["deb.debian.org"] },
  });
  const printed = printDenials(server);
  for (const { bind, hostPort } of server.published) {
    console.error(`the guest's port 80 is at http://${bind}:${hostPort}/`);
  }
  const qemu = new Deno.Command(QEMU, {
    args: qemuArguments({ kernel, initrd, gateway, kvm: words.includes("--kvm") }),
    stdin: "inherit",
    signal, // SIGTERM, with which QEMU ends in order
  }).spawn();
  const { code } = await qemu.status;
  await server.close();
  await printed;
  return code;
}

if (import.meta.main) {
  if (Deno.args.length < 2) {
    console.error("Which VM? examples/qemu.ts [--kvm] KERNEL INITRD [ALLOWED NAME …]");
    Deno.exit(2);
  }
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => stop.abort());
  }
  const folder = await Deno.makeTempDir({ prefix: "vm-" });
  let code = 1;
  try {
    code = await runVm(Deno.args, folder, stop.signal);
  } catch (error) {
    const { message, hint } = error as Error & { hint?: string };
    if (!(error instanceof GatewayError || error instanceof Deno.errors.NotFound)) throw error;
    console.error([message, hint].filter((text) => text).join(". "));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  Deno.exit(code); // the signal listeners would keep the process
}
