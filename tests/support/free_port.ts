/**
 * Ports for tests that have to name one before it is listened on, or while nobody listens.
 *
 * A port that is looked up and bound later is anybody's in between: another test's connection or
 * listener may be given it. So each process has a range of its own, outside of what the system gives
 * to sockets that ask for any, and hands out one after the other.
 *
 * @module
 */

const PORT_MIN = 10_000;
const PORT_MAX = 30_000;
/** So many in a row are one process's, as long as that listens at the first of them. */
const RANGE_PORTS = 250;

const range = ownRange();
let given = 0;

function ownRange(): Deno.TcpListener {
  const count = (PORT_MAX - PORT_MIN) / RANGE_PORTS;
  const first = Math.floor(Math.random() * count);
  for (let i = 0; i < count; i++) {
    const port = PORT_MIN + (first + i) % count * RANGE_PORTS;
    try {
      return Deno.listen({ hostname: "127.0.0.1", port });
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
  throw new Error("every range of ports is another process's");
}

function isTaken(hostname: string, port: number): boolean {
  try {
    Deno.listen({ hostname, port }).close();
    return false;
  } catch (error) {
    return error instanceof Deno.errors.AddrInUse; // not every host has IPv6
  }
}

/** Whether nobody has it, at whatever address. */
function isFree(port: number): boolean {
  return !isTaken("0.0.0.0", port) && !isTaken("::", port);
}

/** A TCP port that nobody has, and no other test is given. */
export function freePort(): number {
  return freePorts(1);
}

/** The first of so many in a row; a few. */
export function freePorts(count: number): number {
  for (let looked = 0; looked < RANGE_PORTS; looked += count) {
    if (given + count >= RANGE_PORTS) given = 0;
    const first = range.addr.port + 1 + given;
    given += count;
    if (Array.from({ length: count }, (_, i) => first + i).every(isFree)) return first;
  }
  throw new Error("this process's range has no free ports left");
}
