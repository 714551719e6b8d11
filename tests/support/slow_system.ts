/**
 * The machine with a clock that goes ten times slower: for tests on real sockets in which a second of a
 * gateway or an embedded guest is not to pass while the whole test stands still.
 *
 * @module
 */
import { type HostSystem, hostSystem } from "../../lib/host/host_system.ts";

const TIMES = 10;

/** The machine itself, but for its time. */
export const slowSystem: HostSystem = {
  ...hostSystem,
  now: () => performance.now() / TIMES,
  setTimer: (task, delayMs) => setTimeout(task, delayMs * TIMES),
};
