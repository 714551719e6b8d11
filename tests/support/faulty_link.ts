/**
 * A bad cable between a guest and a gateway: it understands the frame stream (4-byte big-endian
 * length, Ethernet frame), so it can lose, repeat, hold back and damage whole frames, both ways.
 *
 * What happens to the n-th frame of a direction depends on the seed, the direction and n alone,
 * never on how the bytes were split or on timing. Bits are turned only behind the Ethernet header:
 * a damaged header is another network's problem, a damaged packet must be caught by a checksum.
 *
 * Limits: a frame has 14 to 65,550 bytes, anything else ends the link; at most 4 MiB are under way
 * in a direction, then the sender waits.
 *
 * @module
 */

/** How bad the link is. Percentages are of frames, in each direction. */
export interface FaultSpec {
  /** Frames that never arrive. */
  lossPercent?: number;
  /** Frames that arrive twice. */
  duplicatePercent?: number;
  /** Frames that are held back by `reorderMs`, so that later ones overtake them. */
  reorderPercent?: number;
  /** Frames of which one bit is turned. */
  flipPercent?: number;
  /** Delay of every frame. */
  delayMs?: number;
  /** How long a reordered frame is held back. Default 2. */
  reorderMs?: number;
  /** Start of the dice. Default 1. */
  seed?: number;
}

/** What one direction has done so far. */
export interface FaultCounts {
  /** Frames that came in. */
  frames: number;
  /** Frames dropped. */
  lost: number;
  /** Frames sent twice. */
  duplicated: number;
  /** Frames held back. */
  reordered: number;
  /** Frames with a bit turned. */
  flipped: number;
}

/** The part of a `Deno.Conn` that the link uses. */
export type LinkEnd = Pick<Deno.Conn, "read" | "write" | "close">;

/** A running link. */
export interface FaultyLink {
  /** Guest to gateway. */
  readonly toGateway: Readonly<FaultCounts>;
  /** Gateway to guest. */
  readonly toGuest: Readonly<FaultCounts>;
  /** Says why the link ended, once both ends are closed and nothing is under way. */
  readonly done: Promise<string>;
  /** Closes both ends at once. */
  close(): void;
}

const PREFIX_BYTES = 4;
const ETHERNET_BYTES = 14;
const FRAME_MAX_BYTES = 65_550;
const UNDER_WAY_MAX_BYTES = 4 * 1024 * 1024;
const READ_BYTES = 256 * 1024;

/** What befalls one frame. */
export interface Fate {
  /** It never arrives. */
  lost: boolean;
  /** It arrives twice. */
  duplicated: boolean;
  /** It is held back. */
  reordered: boolean;
  /** The bit that is turned, counted from the frame's first byte; -1 for none. */
  flippedBit: number;
}

/** The dice of one direction: the same seed gives the same fates. */
export class FaultDice {
  readonly #spec: FaultSpec;
  #state: number;

  constructor(spec: FaultSpec, direction: "toGateway" | "toGuest") {
    this.#spec = spec;
    const salted = Math.imul(
      (spec.seed ?? 1) + (direction === "toGuest" ? 0x51ed27 : 0),
      0x9e3779b1,
    );
    this.#state = salted === 0 ? 1 : salted;
  }

  /** The next frame's fate. Always five rolls, so that no frame's fate shifts another's. */
  next(frameBytes: number): Fate {
    const { lossPercent = 0, duplicatePercent = 0, reorderPercent = 0, flipPercent = 0 } =
      this.#spec;
    const lost = this.#roll() * 100 < lossPercent;
    const duplicated = this.#roll() * 100 < duplicatePercent;
    const reordered = this.#roll() * 100 < reorderPercent;
    const flip = this.#roll() * 100 < flipPercent;
    const where = this.#roll();
    const bits = (frameBytes - ETHERNET_BYTES) * 8;
    const flippedBit = flip && bits > 0 ? ETHERNET_BYTES * 8 + Math.floor(where * bits) : -1;
    return { lost, duplicated, reordered, flippedBit };
  }

  /** A number from 0 up to 1: xorshift with 32 bits of state. */
  #roll(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) / 0x1_0000_0000;
  }
}

/** A frame with its prefix, and when it is due. */
interface Held {
  dueMs: number;
  bytes: Uint8Array;
}

/** One direction: a loop that reads frames and decides, and a loop that sends what is due. */
class Direction {
  readonly counts: FaultCounts = { frames: 0, lost: 0, duplicated: 0, reordered: 0, flipped: 0 };
  readonly #from: LinkEnd;
  readonly #to: LinkEnd;
  readonly #name: string;
  readonly #spec: FaultSpec;
  readonly #dice: FaultDice;
  readonly #held: Held[] = [];
  #heldBytes = 0;
  #ended: string | null = null;
  #wakeSender: (() => void) | null = null;
  #wakeReader: (() => void) | null = null;

  constructor(from: LinkEnd, to: LinkEnd, direction: "toGateway" | "toGuest", spec: FaultSpec) {
    this.#from = from;
    this.#to = to;
    this.#name = direction === "toGateway" ? "guest" : "gateway";
    this.#spec = spec;
    this.#dice = new FaultDice(spec, direction);
  }

  /** Runs until the sending end is gone and what it sent has been delivered. */
  async run(): Promise<string> {
    const [ended] = await Promise.all([this.#readAll(), this.#sendAll()]);
    return ended;
  }

  async #readAll(): Promise<string> {
    let ended: string;
    try {
      ended = await this.#readFrames();
    } catch (error) {
      ended = `reading from the ${this.#name}: ${(error as Error).message}`;
    }
    this.#ended = ended;
    this.#wakeSender?.();
    return ended;
  }

  async #readFrames(): Promise<string> {
    const buffer = new Uint8Array(READ_BYTES);
    let have = 0;
    for (;;) {
      const count = await this.#from.read(buffer.subarray(have));
      if (count === null) return `the ${this.#name} closed`;
      have += count;
      let at = 0;
      while (have - at >= PREFIX_BYTES) {
        const length = new DataView(buffer.buffer, at).getUint32(0);
        if (length < ETHERNET_BYTES || length > FRAME_MAX_BYTES) {
          return `the ${this.#name} sent a frame of ${length} bytes`;
        }
        if (have - at < PREFIX_BYTES + length) break;
        this.#take(buffer.slice(at, at + PREFIX_BYTES + length));
        at += PREFIX_BYTES + length;
      }
      buffer.copyWithin(0, at, have);
      have -= at;
      while (this.#heldBytes > UNDER_WAY_MAX_BYTES && this.#ended === null) {
        await new Promise<void>((resolve) => this.#wakeReader = resolve);
      }
    }
  }

  #take(bytes: Uint8Array): void {
    const fate = this.#dice.next(bytes.length - PREFIX_BYTES);
    this.counts.frames++;
    if (fate.lost) {
      this.counts.lost++;
      return;
    }
    if (fate.flippedBit >= 0) {
      this.counts.flipped++;
      const at = PREFIX_BYTES + (fate.flippedBit >> 3);
      bytes[at] = bytes[at]! ^ (1 << (fate.flippedBit & 7));
    }
    const { delayMs = 0, reorderMs = 2 } = this.#spec;
    let dueMs = performance.now() + delayMs;
    if (fate.reordered) {
      this.counts.reordered++;
      dueMs += reorderMs;
    }
    this.#hold({ dueMs, bytes });
    if (fate.duplicated) {
      this.counts.duplicated++;
      this.#hold({ dueMs, bytes });
    }
  }

  /** Keeps the order of due times; frames that are due together keep the order they came in. */
  #hold(frame: Held): void {
    let at = this.#held.length;
    while (at > 0 && this.#held[at - 1]!.dueMs > frame.dueMs) at--;
    this.#held.splice(at, 0, frame);
    this.#heldBytes += frame.bytes.length;
    this.#wakeSender?.();
  }

  async #sendAll(): Promise<void> {
    try {
      for (;;) {
        const first = this.#held[0];
        if (first === undefined) {
          if (this.#ended !== null) return;
          await this.#pause(null);
          continue;
        }
        const waitMs = first.dueMs - performance.now();
        if (waitMs > 0) await this.#pause(waitMs);
        else await this.#sendDue();
      }
    } catch {
      // The receiving end is gone; the reader must not wait for room any more.
      this.#held.length = 0;
      this.#heldBytes = 0;
      this.#ended ??= `the end behind the ${this.#name}'s frames is gone`;
      closeQuietly(this.#from);
    } finally {
      this.#wakeReader?.();
    }
  }

  async #sendDue(): Promise<void> {
    const nowMs = performance.now();
    let count = 0;
    let size = 0;
    while (count < this.#held.length && this.#held[count]!.dueMs <= nowMs) {
      size += this.#held[count++]!.bytes.length;
    }
    const batch = new Uint8Array(size);
    let at = 0;
    for (const { bytes } of this.#held.splice(0, count)) {
      batch.set(bytes, at);
      at += bytes.length;
    }
    for (let sent = 0; sent < size;) sent += await this.#to.write(batch.subarray(sent));
    this.#heldBytes -= size;
    this.#wakeReader?.();
  }

  /** Waits for a wake, and for no longer than that many milliseconds. */
  async #pause(waitMs: number | null): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve) => {
      this.#wakeSender = resolve;
      if (waitMs !== null) timer = setTimeout(resolve, waitMs);
    });
    clearTimeout(timer);
    this.#wakeSender = null;
  }
}

/** Closes an end that another loop may have closed before. */
function closeQuietly(end: LinkEnd): void {
  try {
    end.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/**
 * Puts a bad link between two open connections and owns both from then on.
 *
 * @param guest The connection on which the guest's frames arrive.
 * @param gateway The connection to the gateway.
 * @param spec How bad it is.
 * @returns The running link.
 */
export function joinFaulty(guest: LinkEnd, gateway: LinkEnd, spec: FaultSpec): FaultyLink {
  const up = new Direction(guest, gateway, "toGateway", spec);
  const down = new Direction(gateway, guest, "toGuest", spec);
  const close = () => {
    closeQuietly(guest);
    closeQuietly(gateway);
  };
  // The first direction that ends has delivered all it got; the other has no one to talk to then.
  const closing = (ended: string) => {
    close();
    return ended;
  };
  const ends = [up.run().then(closing), down.run().then(closing)];
  const done = Promise.race(ends).then(async (first) => {
    await Promise.all(ends);
    return first;
  });
  return { toGateway: up.counts, toGuest: down.counts, done, close };
}

/** A place to listen at or connect to: `unix:/path` or `tcp:PORT` of 127.0.0.1. */
export type LinkEndpoint = `unix:${string}` | `tcp:${number}`;

function parseEndpoint(endpoint: LinkEndpoint): { path: string } | { port: number } {
  const rest = endpoint.slice(endpoint.indexOf(":") + 1);
  return endpoint.startsWith("unix:") ? { path: rest } : { port: Number(rest) };
}

function listen(endpoint: LinkEndpoint): Deno.Listener {
  const at = parseEndpoint(endpoint);
  return "path" in at
    ? Deno.listen({ transport: "unix", path: at.path })
    : Deno.listen({ hostname: "127.0.0.1", port: at.port });
}

/**
 * Connects to an endpoint.
 *
 * @param endpoint The listening side's endpoint.
 * @returns The connection.
 */
export function connect(endpoint: LinkEndpoint): Promise<Deno.Conn> {
  const at = parseEndpoint(endpoint);
  return "path" in at
    ? Deno.connect({ transport: "unix", path: at.path })
    : Deno.connect({ hostname: "127.0.0.1", port: at.port });
}

/** A listening faulty link: each guest that connects gets a gateway connection of its own. */
export interface FaultyListener extends AsyncDisposable {
  /** Every link made so far. */
  readonly links: readonly FaultyLink[];
}

/**
 * Listens as a gateway would and joins whoever connects to the gateway, through bad links.
 *
 * @param endpoint Where guests connect.
 * @param gatewayEndpoint Where the gateway listens.
 * @param spec How bad the links are.
 * @returns The listener; disposing of it closes all its links.
 */
export function listenFaulty(
  endpoint: LinkEndpoint,
  gatewayEndpoint: LinkEndpoint,
  spec: FaultSpec,
): FaultyListener {
  const listener = listen(endpoint);
  const links: FaultyLink[] = [];
  const accepting = (async () => {
    for await (const guest of listener) {
      try {
        const gateway = await connect(gatewayEndpoint);
        links.push(joinFaulty(guest, gateway, spec));
      } catch (error) {
        console.error(`faulty link: cannot reach the gateway: ${(error as Error).message}`);
        guest.close();
      }
    }
  })();
  return {
    links,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      for (const link of links) link.close();
      await Promise.all(links.map((link) => link.done));
    },
  };
}
