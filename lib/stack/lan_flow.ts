/**
 * What is known of one flow between guests, and the order in which flows make way.
 *
 * @module
 */

/** How a flow's protocol is called where it is judged. */
export type LanProtocol = "tcp" | "udp" | "icmp";

/** A flow of the guest, as it is judged. */
export interface LanFlow {
  /** The member at the other end; -1 for a group. */
  readonly peer: number;
  /** Its address: 4 or 16 octets. */
  readonly address: Uint8Array;
  readonly protocol: LanProtocol;
  /** The port at the other end; 0 for ICMP. */
  readonly port: number;
}

/** One flow. Only `LanFlows` writes to it. */
export class Flow implements LanFlow {
  readonly peer: number;
  readonly address: Uint8Array;
  readonly protocol: LanProtocol;
  readonly port: number;
  /** In whose chain it is: the guest's own number, or that of the member that has begun it. */
  owner = 0;
  /** Whether the guest has begun it, and so its policy has allowed it. */
  isGuests = false;
  /**
   * Whether rules that changed have ended it: nothing of it passes until it is allowed again, and what
   * the other end still sends makes it nobody else's.
   */
  isRefused = false;
  /** Whether the end that did not begin it has sent something. */
  isReplied = false;
  /** Whether an RST, or a FIN each way, was seen. */
  isOver = false;
  finsSeen = 0;
  lastUsedMs = 0;
  handle = -1;
  older: Flow | null = null;
  newer: Flow | null = null;

  constructor(peer: number, address: Uint8Array, protocol: LanProtocol, port: number) {
    this.peer = peer;
    this.address = address;
    this.protocol = protocol;
    this.port = port;
  }

  /** Its ports are used again, or for the first time. */
  open(): void {
    this.isOver = false;
    this.finsSeen = 0;
  }
}

/** The flows of one owner, the least recently used first. */
export class FlowChain {
  oldest: Flow | null = null;
  newest: Flow | null = null;
  count = 0;

  /** Adds a flow as the newest. */
  append(flow: Flow): void {
    flow.older = this.newest;
    flow.newer = null;
    if (this.newest === null) this.oldest = flow;
    else this.newest.newer = flow;
    this.newest = flow;
    this.count++;
  }

  /** Takes a flow out. */
  unlink(flow: Flow): void {
    if (flow.older === null) this.oldest = flow.newer;
    else flow.older.newer = flow.newer;
    if (flow.newer === null) this.newest = flow.older;
    else flow.newer.older = flow.older;
    flow.older = null;
    flow.newer = null;
    this.count--;
  }
}
