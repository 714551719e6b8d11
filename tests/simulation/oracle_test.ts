/** Whether the simulation sees what is wrong: each test plants one bug, and wants to hear of it. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { DEFAULT_LIMITS, type Limits } from "../../lib/config/limits.ts";
import type { VirtualHost } from "../support/virtual_host.ts";
import type { VirtualConn } from "../support/virtual_socket.ts";
import type { EndPlan, NetworkPlan, Plan, StreamPlan } from "./plan.ts";
import { simulate } from "./simulation.ts";

const END: EndPlan = {
  sendBytes: 30_000,
  chunkBytes: 65_536,
  chunkGapMs: 0,
  readBytes: 262_144,
  readGapMs: 0,
  readAfterMs: 0,
  waitsForEnd: false,
  abortAtBytes: Infinity,
  closesEarly: false,
  echoes: false,
};

const STREAM: StreamPlan = {
  id: 0,
  opener: "guest",
  address: "93.184.1.1",
  port: 1_000,
  startMs: 0,
  connect: { kind: "accept", delayMs: 1 },
  guest: END,
  host: END,
  bufferBytes: 16_384,
  partShare: 0,
  operationMs: 2,
};

const LIMITS: Limits = {
  ...DEFAULT_LIMITS,
  tcpFlows: 64,
  tcpHalfOpen: 32,
  tcpDials: 16,
  tcpDialsPerDestination: 16,
  tcpTimeWaitMs: 1_000,
  udpFlows: 16,
  fragmentSets: 8,
  publishedPending: 16,
};

/** One guest on a good link: two streams, one after the other. */
function calmPlan(changes: Partial<NetworkPlan> = {}): Plan {
  const calm: NetworkPlan = {
    name: "net0",
    mtu: 1_500,
    ipv6: true,
    offload: "none",
    weather: "clean",
    mix: {
      loss: 0,
      duplicate: 0,
      reorder: 0,
      reorderMs: 1,
      late: 0,
      flip: 0,
      delayMs: 1,
      bytesPerMs: Infinity,
      stalls: [],
    },
    cuts: [],
    lingerMs: 0,
    returns: [],
    scarce: false,
    tight: false,
    limits: LIMITS,
    linkBufferBytes: 65_536,
    linkPartShare: 0,
    resolvers: ["answers"],
    streams: [STREAM, { ...STREAM, id: 1, address: "93.184.1.2", startMs: 500 }],
    datagrams: [],
    questions: [],
    pings: [],
    ...changes,
  };
  return { seed: 1, networks: [calm] };
}

/** Runs the plan on a machine whose hosts' sockets were changed. */
async function faultsOf(
  tamper: (host: VirtualHost) => void,
  plan: Plan = calmPlan(),
): Promise<string> {
  const { faults } = await simulate(1, { plan, tamper });
  return faults.join("\n");
}

/** Changes the gateway's end of every connection to a host. */
function onConns(change: (conn: VirtualConn) => void): (host: VirtualHost) => void {
  return (host) => {
    const open = host.openConn.bind(host);
    host.openConn = (options = {}) => {
      const ends = open(options);
      if (options.remote !== undefined) change(ends[0]);
      return ends;
    };
  };
}

/** Changes what one of a connection's reads has brought. */
function onRead(
  change: (bytes: Uint8Array, count: number) => number | null,
): (host: VirtualHost) => void {
  return onConns((conn) => {
    const read = conn.read.bind(conn);
    let reads = 0;
    conn.read = async (into) => {
      const count = await read(into);
      return count !== null && ++reads === 2 ? change(into, count) : count;
    };
  });
}

Deno.test("oracle: without a planted bug there is no fault", async () => {
  assertEquals(await faultsOf(() => {}), "");
});

Deno.test("oracle: one changed bit is seen", async () => {
  const flip = onRead((bytes, count) => {
    bytes[count >> 1]! ^= 4;
    return count;
  });
  assert((await faultsOf(flip)).includes("that the guest read is not the host's"));
});

Deno.test("oracle: memory that a read did not fill is seen", async () => {
  const stale = onConns((conn) => {
    const read = conn.read.bind(conn);
    conn.read = async (into) => {
      const count = await read(new Uint8Array(into.length));
      return count;
    };
  });
  assert((await faultsOf(stale)).includes("byte 0 that the guest read is not the host's"));
});

Deno.test("oracle: a byte that is lost on the way to the host is seen", async () => {
  const lossy = onConns((conn) => {
    const write = conn.write.bind(conn);
    let writes = 0;
    conn.write = async (bytes) =>
      ++writes === 2 ? await write(bytes.subarray(1)) + 1 : write(bytes);
  });
  assert((await faultsOf(lossy)).includes("that the host was sent is not the guest's"));
});

Deno.test("oracle: bytes that were acknowledged and never delivered are seen", async () => {
  const greedy = onConns((conn) => {
    const write = conn.write.bind(conn);
    let taken = 0;
    conn.write = (bytes) => {
      taken += bytes.length;
      return taken > 20_000 ? Promise.resolve(bytes.length) : write(bytes);
    };
  });
  const faults = await faultsOf(greedy);
  assert(faults.includes("bytes were acknowledged to the guest"), faults);
  assert(faults.includes("the host saw the end after"), faults);
});

Deno.test("oracle: an end that comes too early is seen", async () => {
  const early = await faultsOf(onRead(() => null));
  assert(early.includes("the guest saw an end that the host did not send"), early);
  const shortened = calmPlan({ streams: [{ ...STREAM, bufferBytes: 65_536 }] });
  const short = await faultsOf(onRead(() => null), shortened);
  assert(short.includes("the guest saw the end after"), short);
});

Deno.test("oracle: bytes of another stream are seen", async () => {
  let other: Uint8Array | null = null;
  const mixed = onConns((conn) => {
    const write = conn.write.bind(conn);
    conn.write = (bytes) => {
      const sent = other === null ? bytes : other.subarray(0, bytes.length);
      other ??= bytes.slice();
      return write(sent);
    };
  });
  const faults = await faultsOf(mixed);
  assert(
    faults.includes("net0 stream 1: byte 0 that the host was sent is not the guest's"),
    faults,
  );
});

Deno.test("oracle: a socket that stays open is seen", async () => {
  const leaky = onConns((conn) => conn.close = () => {});
  const faults = await faultsOf(leaky);
  assert(faults.includes("In vain") && faults.includes("hosts over: false"), faults);
});

Deno.test("oracle: a timer that runs on is seen", async () => {
  const faults = await faultsOf((host) => host.setTimer(() => {}, 1e9));
  assertEquals(faults, "host: 1 timers run");
});

Deno.test("oracle: a write into memory that was given back is seen", async () => {
  const late = (host: VirtualHost) =>
    onConns((conn) => {
      const read = conn.read.bind(conn);
      const close = conn.close.bind(conn);
      let lent = new Uint8Array(0) as Uint8Array;
      conn.read = (into) => read(lent = into);
      conn.close = () => {
        close();
        host.clock.after(10, () => lent[3] = 1);
      };
    })(host);
  const faults = await faultsOf(late);
  assert(faults.includes("Free memory was written to"), faults);
});

Deno.test("oracle: a network that never comes to rest is seen", async () => {
  const faults = await faultsOf((host) => {
    const again = () => host.clock.soon(again);
    host.clock.after(100, again);
  });
  assert(faults.includes("The clock stands still"), faults);
});

Deno.test("oracle: an operation that never ends is seen", async () => {
  const stuck = onConns((conn) => conn.write = () => new Promise(() => {}));
  const faults = await faultsOf(stuck);
  assert(faults.includes("In vain"), faults);
});

Deno.test("oracle: a forged answer that is believed is seen", async () => {
  const plan = calmPlan({
    streams: [],
    resolvers: ["forged first"],
    questions: [{ id: 0, startMs: 0, name: "n.example.net", transport: "udp" }],
  });
  assertEquals(await faultsOf(() => {}, plan), "");
  const credulous = (host: VirtualHost) => {
    const open = host.openUdpSocket.bind(host);
    host.openUdpSocket = (hostname, handler) => {
      let asked = { hostname: "", port: 0 };
      const socket = open(hostname, {
        onDatagram: (bytes) => handler.onDatagram(bytes, asked.hostname, asked.port),
        onError: (error) => handler.onError(error),
      });
      return {
        send(bytes, hostname, port, onError) {
          asked = { hostname, port };
          socket.send(bytes, hostname, port, onError);
        },
        close: () => socket.close(),
      };
    };
  };
  assert((await faultsOf(credulous, plan)).includes('the guest was told "6.6.6.6"'));
});

Deno.test("oracle: dice that are not the seed's change the trace", async () => {
  const plan = calmPlan();
  const honest = await simulate(1, { plan });
  let word = 0;
  const other = await simulate(1, {
    plan,
    tamper: (host) => Object.assign(host, { randomWord: () => word++ & 0xffff }),
  });
  assertEquals(other.faults, []);
  assertNotEquals(other.digest, honest.digest);
});
