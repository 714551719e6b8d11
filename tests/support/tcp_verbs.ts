/**
 * The words of a packet script that mean something whoever the guest's peer is: the gateway's
 * endpoint on a virtual clock (`tcp_script.ts`), or the kernel of a network namespace in real time
 * (`tests/conformance/`). A script that keeps to these words runs against both.
 *
 * What only the gateway has (counters, the state of a held SYN, the exact time of a segment) is
 * held where the gateway runs, and passed over where the kernel does.
 *
 * @module
 */
import type { TcpState } from "../../lib/stack/tcp/state.ts";
import type { CounterName } from "../../lib/stack/counters.ts";
import type { TcpScript } from "./tcp_script.ts";

/** How a script differs from the plain one. */
export interface ScriptOptions {
  family?: 4 | 6;
  mtu?: number;
  flows?: number;
  halfOpen?: number;
  poolBytes?: number;
  bufferMinBytes?: number;
  bufferMaxBytes?: number;
  timeWaitMs?: number;
  idleMs?: number;
  /** `true`: Linux does the same, so the script also runs against a kernel. */
  linux?: boolean;
  /** Whether the device takes large segments; without a word the script runs without and with. */
  large?: "headers" | "bare" | "never";
}

/** How a named state's handshake differs from the plain one. */
export interface Handshake {
  mss?: number;
  sack?: boolean;
  timestamps?: boolean;
  wscale?: number | null;
  /** The guest's window in bytes. */
  windowBytes?: number;
  /** How long the SYN-ACK and its answer take together. */
  rttMs?: number;
}

/** A passage in which the two kinds of peer rightly differ. */
export interface Difference {
  gateway: (s: ScriptVerbs) => unknown;
  linux: (s: ScriptVerbs) => unknown;
}

/** A script that can run against any peer. */
export interface ScriptVerbs {
  // ---- Time -------------------------------------------------------------------------------

  /** Turns the clock to `ms` after the script's start. */
  at(ms: number): this;
  /** Turns the clock on by `ms`. */
  after(ms: number): this;

  // ---- The guest --------------------------------------------------------------------------

  /** The flow of another port of the guest's is the one that the verbs are about. */
  port(guestPort: number): this;
  /** A new connection from the same port. */
  renew(isn?: number): this;
  /** The guest sends segments, all in one turn. */
  guest(...lines: string[]): this;
  /** The guest acknowledges all that it is sent until it is at the number `end`. */
  guestTakes(end: number): this;
  /** The guest fills the peer's window; from then on the next number of its stream is 1 again. */
  guestFills(segmentBytes?: number): this;

  // ---- The peer's side --------------------------------------------------------------------

  /** The peer takes the connection: its SYN-ACK may go out. */
  accept(): this;
  /** The peer refuses it. */
  refuse(): this;
  /** The peer opens a connection to the guest. */
  connect(): this;
  /** The peer sends so many octets of its stream, at once or as room comes. */
  hostSends(bytes: number): this;
  /** The peer sends nothing more after what it has sent. */
  hostFinishes(): this;
  /** The peer takes exactly so many octets, all `fill` where that is given. */
  hostReads(bytes: number, fill?: number): this;
  /** The peer takes whatever comes, at once. */
  hostReadsAll(): this;
  /** The peer gives up: RST. */
  abort(): this;

  // ---- Expectations -----------------------------------------------------------------------

  /** These are the next segments that the guest gets; `@ms` in front says when. */
  expect(...lines: string[]): this;
  /** Nothing but what was expected was sent. */
  nothingElse(): this;
  /** Nothing is sent for so long. */
  quiet(ms: number): this;
  /** Passes over what the guest was sent. */
  segments(): unknown;
  /** These are the events of the flow since they were last asked for. */
  told(...events: string[]): this;
  /** The flow is in this state. */
  inState(state: TcpState): this;
  /** These counters of the gateway grew since the last call. */
  counts(expected: Partial<Record<CounterName, number>>): this;
  /** Something about the gateway itself. */
  gateway(holds: (own: TcpScript) => void): this;
  /** The two kinds of peer differ here, and both may: says why, and what each does. */
  differs(why: string, passage: Difference): this;

  // ---- States by name ---------------------------------------------------------------------

  /** A connection of the guest's that is established; its handshake's events are over. */
  established(handshake?: Handshake): this;
  /** Both sides have opened, the host has finished, the guest has not acknowledged that. */
  finWait1(handshake?: Handshake): this;
  /** The host has finished, the guest has acknowledged that. */
  finWait2(handshake?: Handshake): this;
  /** The guest has finished. */
  closeWait(handshake?: Handshake): this;
  /** Both have finished, the guest first, and has not acknowledged the host's FIN. */
  lastAck(handshake?: Handshake): this;
  /** Both have finished at once; neither FIN was acknowledged. */
  closing(handshake?: Handshake): this;
  /** Both have finished, the host first. */
  timeWait(handshake?: Handshake): this;
}

/** The names of the states that a script can begin in. */
export type NamedState =
  | "established"
  | "finWait1"
  | "finWait2"
  | "closeWait"
  | "lastAck"
  | "closing"
  | "timeWait";

/** How each of them is reached. */
export const REACH: Readonly<
  Record<NamedState, (s: ScriptVerbs, handshake: Handshake) => void>
> = {
  established(s, handshake) {
    const { mss = 1460, sack = true, timestamps = false, rttMs = 0 } = handshake;
    const wscale = handshake.wscale === undefined ? 7 : handshake.wscale;
    const windowBytes = handshake.windowBytes ?? (wscale === null ? 65535 : 65535 << wscale);
    const win = windowBytes >> (wscale ?? 0);
    const options = [
      `mss ${mss}`,
      ...(sack ? ["sackOK"] : []),
      ...(timestamps ? ["TS 1000 0"] : []),
      ...(wscale === null ? [] : [`wscale ${wscale}`]),
    ];
    s.guest(`S 0:0 win ${Math.min(65535, windowBytes)} <${options}>`).accept();
    s.expect("S. 0:0 ack 1");
    if (rttMs > 0) s.after(rttMs);
    s.guest(`. 1:1 ack 1 win ${win}`).told("established").inState("established");
  },
  finWait1(s, handshake) {
    s.established(handshake).hostFinishes().expect("F. 1:1 ack 1").inState("finWait1");
  },
  finWait2(s, handshake) {
    s.finWait1(handshake).guest(". 1:1 ack 2").nothingElse().inState("finWait2");
  },
  closeWait(s, handshake) {
    s.established(handshake).guest("F. 1:1 ack 1").expect(". 1:1 ack 2").told("readable");
    s.inState("closeWait");
  },
  lastAck(s, handshake) {
    s.closeWait(handshake).hostFinishes().expect("F. 1:1 ack 2").inState("lastAck");
  },
  closing(s, handshake) {
    s.finWait1(handshake).guest("F. 1:1 ack 1").expect(". 2:2 ack 2").told("readable");
    s.inState("closing");
  },
  timeWait(s, handshake) {
    s.finWait2(handshake).guest("F. 1:1 ack 2").expect(". 2:2 ack 2").told("readable");
    s.inState("timeWait");
  },
};
