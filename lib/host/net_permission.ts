/**
 * The guest's destinations that Deno's own permissions leave out: the guest hears that they are
 * prohibited, and the log which flag would let it there, each destination once a minute.
 *
 * Limits: `PLACES_MAX` destinations are told apart; the log itself bounds how many lines there are.
 *
 * @module
 */
import { formatHostPort } from "../config/endpoint.ts";
import type { GatewayLogger } from "../config/logger.ts";
import { shellQuote } from "../config/permission_line.ts";
import { DatagramPeer } from "./datagram_peer.ts";
import type { DatagramSocketsOptions } from "./datagram_socket.ts";
import type { DatagramOpeners, HostSystem } from "./host_system.ts";
import { mayUseAnyAddress } from "./permissions.ts";
import { QuietWarning } from "./quiet_warning.ts";

const PLACES_MAX = 64;

/**
 * The same machine; the log hears of what is not permitted.
 *
 * @param system The machine.
 * @param logger Where that is said.
 * @param isAnyAllowed Whether `--allow-net` names no addresses, so that it is `--deny-net` that does.
 */
export function withNetWarning(
  system: HostSystem,
  logger: GatewayLogger,
  isAnyAllowed: () => boolean = mayUseAnyAddress,
): HostSystem {
  const warnings = new Map<string, QuietWarning>();
  const warningOf = (destination: string): QuietWarning => {
    let warning = warnings.get(destination);
    if (warning !== undefined) return warning;
    for (const oldest of warnings.keys()) {
      if (warnings.size < PLACES_MAX) break;
      warnings.delete(oldest);
    }
    warning = new QuietWarning(logger, system.now);
    warnings.set(destination, warning);
    return warning;
  };
  const note = (error: unknown, protocol: string, place: string, needed = place): void => {
    if (!(error instanceof Deno.errors.NotCapable)) return;
    const destination = `${place}/${protocol}`;
    warningOf(destination).warn("a guest's destination is refused by Deno, not by the policy", {
      destination,
      ...(isAnyAllowed()
        ? { deniedBy: "--deny-net" }
        : { allow: shellQuote(`--allow-net=${needed}`) }),
    });
  };
  const connect: HostSystem["connect"] = (options) =>
    system.connect(options).catch((error) => {
      note(error, "tcp", formatHostPort(options.hostname ?? "127.0.0.1", options.port));
      throw error;
    });
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
