/**
 * The guest's flows that Deno's own permissions do not allow: the guest hears that they are
 * prohibited, and the log which flag would let them through.
 *
 * @module
 */
import { formatHostPort } from "../config/endpoint.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { DatagramPeer } from "./datagram_peer.ts";
import type { DatagramSocketsOptions } from "./datagram_socket.ts";
import type { Connect } from "./dialer.ts";
import type { DatagramOpeners, HostSystem } from "./host_system.ts";
import { QuietWarning } from "./quiet_warning.ts";

/** The same machine; the log hears, once a minute, of what `--allow-net` leaves out. */
export function withNetWarning(system: HostSystem, logger: GatewayLogger): HostSystem {
  const warning = new QuietWarning(logger, system.now);
  const note = (error: unknown, protocol: string, place: string, needed = place): void => {
    if (!(error instanceof Deno.errors.NotCapable)) return;
    warning.warn("a guest's flow is refused by Deno, not by the policy", {
      destination: `${place}/${protocol}`,
      allow: `--allow-net=${needed}`,
    });
  };
  const connect: Connect = (options) => {
    const connected = system.connect(options);
    const { hostname = "127.0.0.1", port } = options;
    // Beside the way of those that succeed.
    connected.catch((error) => note(error, "tcp", formatHostPort(hostname, port)));
    return connected;
  };
  const datagramSockets = (options: DatagramSocketsOptions): DatagramOpeners => {
    const sockets = system.datagramSockets(options);
    return {
      open(address, port, listener) {
        try {
          return sockets.open(address, port, listener);
        } catch (error) {
          const place = formatHostPort(address, port);
          const own = formatHostPort(new DatagramPeer(address, port).bindAddress, 0);
          note(error, "udp", place, `${own},${place}`);
          throw error;
        }
      },
      settled: () => sockets.settled(),
    };
  };
  return { ...system, connect, datagramSockets };
}
