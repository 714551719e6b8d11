/**
 * What each end of a stream has seen, and what must hold of it when everything is over:
 *
 *   - bytes arrive as they were sent, in order, once (checked as they come: `findForeign`);
 *   - an end is seen only after every byte before it;
 *   - bytes that were acknowledged to the guest are at the host, unless the guest sees a reset or
 *     has broken the connection itself; the same the other way round;
 *   - a guest that has finished and was told that all of it is there may vanish: it goes on to the
 *     host;
 *   - on a good link between ends that behave, everything arrives.
 *
 * @module
 */
import type { TcpConnection } from "../../lib/stack/tcp/connection.ts";
import { seqDiff } from "../../lib/stack/tcp/sequence.ts";
import type { EndPlan, StreamPlan } from "./plan.ts";

/** What one end has done and seen. */
export class EndLedger {
  readonly plan: EndPlan;
  sentBytes = 0;
  takenBytes = 0;
  /** It has said that it sends no more. */
  hasFinished = false;
  /** It has seen the other's end. */
  sawEnd = false;
  /** It broke the connection as planned, or gave up waiting. */
  hasAborted = false;
  /** What it was told that broke the connection; `null` where nothing did. */
  failure: string | null = null;
  isOver = false;

  constructor(plan: EndPlan) {
    this.plan = plan;
  }
}

/** The guest's end. */
export class GuestLedger extends EndLedger {
  readonly connection: TcpConnection;
  /** The guest waited for minutes, and nothing moved. */
  gaveUp = false;
  /** When its link was cut, it had been told that everything was there, its end included. */
  wasToldAllBeforeCut = false;

  constructor(plan: EndPlan, connection: TcpConnection) {
    super(plan);
    this.connection = connection;
  }

  /** Bytes that the guest was told have arrived. */
  get acknowledgedBytes(): number {
    const { sender } = this.connection;
    const octets = seqDiff(sender.sndUna, sender.iss) - 1; // the SYN is one
    return Math.max(0, Math.min(octets, this.sentBytes));
  }

  /** The guest's kernel waits for nothing any more. */
  get isSettled(): boolean {
    const { state } = this.connection;
    return state === "timeWait" || state === "closed";
  }

  /** Both ends came in order, as far as the guest knows. */
  get isOrderly(): boolean {
    const { state, closeReason } = this.connection;
    return state === "timeWait" || (state === "closed" && closeReason === "finished");
  }

  /** The guest was told that the connection broke. */
  get sawReset(): boolean {
    return this.connection.state === "closed" && this.connection.closeReason !== "finished";
  }
}

/** One stream: the ends that it had, more of them where an opening was repeated. */
export class StreamLedger {
  readonly plan: StreamPlan;
  readonly guests: GuestLedger[] = [];
  readonly hosts: EndLedger[] = [];
  /** Why the guest or the client could not connect; `null` where it could. */
  connectFailure: string | null = null;
  /** Its link was cut while it ran. */
  wasCut = false;
  /** It has begun. */
  hasBegun = false;

  constructor(plan: StreamPlan) {
    this.plan = plan;
  }

  /** Whether no end has anything to do any more, the guest's kernel included. */
  get isOver(): boolean {
    return this.guests.every((end) => end.isOver && end.isSettled) &&
      this.hosts.every((end) => end.isOver);
  }
}

/** What the stream's link allows to expect. */
export interface Expectation {
  /** Nothing is lost, late or cut, and there is memory for everybody. */
  readonly isCalm: boolean;
  /** No link is away for so long that a connect is given up. */
  readonly isSteady: boolean;
  /** The guest may lose its patience: many frames in a row can be lost. */
  readonly mayTimeOut: boolean;
  /** The link is lost for a while: a reset may go down with it, and is not sent again. */
  readonly mayLoseReset: boolean;
}

/** What is wrong with a stream that is over. */
export function judgeStream(stream: StreamLedger, expectation: Expectation): string[] {
  if (!stream.hasBegun) return [];
  const { guests, hosts } = stream;
  if (guests.length === 0) return judgeUnopened(stream, expectation);
  const guest = mainOf(guests);
  const host = mainOf(hosts);
  const faults = [...judgeExtras(guests, guest), ...judgeExtras(hosts, host)];
  if (guest === undefined) return faults;
  if (host === undefined) return [...faults, "the guest was connected to nobody"];
  return [
    ...faults,
    ...judgeGuestToHost(stream, guest, host),
    ...judgeHostToGuest(stream, guest, host),
    ...judgeCompletion(stream, guest, host, expectation),
  ];
}

/**
 * The end that the bytes went through. A SYN that comes once more when its connection is over makes
 * another one, which the guest resets: its host hears nothing and gets little into its socket.
 */
function mainOf<T extends EndLedger>(ends: readonly T[]): T | undefined {
  return ends.toSorted((a, b) =>
    b.takenBytes - a.takenBytes || b.sentBytes - a.sentBytes || Number(b.sawEnd) - Number(a.sawEnd)
  )[0];
}

function judgeExtras(ends: readonly EndLedger[], main: EndLedger | undefined): string[] {
  return ends.filter((end) => end !== main && end.takenBytes > 0).map((end) =>
    `bytes of one stream came to two connections: ${main?.takenBytes} and ${end.takenBytes}`
  );
}

const FAILURES: Readonly<Record<string, readonly string[]>> = {
  ECONNREFUSED: ["refused"],
  EMFILE: ["refused"],
  EHOSTUNREACH: ["unreachable"],
  ENETUNREACH: ["unreachable"],
  ETIMEDOUT: ["unreachable"],
};

function judgeUnopened(stream: StreamLedger, { isSteady }: Expectation): string[] {
  const { plan, connectFailure, hosts } = stream;
  const faults: string[] = [];
  const isHeard = hosts.some((host) => host.takenBytes > 0);
  if (isHeard) faults.push("a host was sent bytes of a guest that never connected");
  if (plan.connect.kind === "forbidden" && hosts.length > 0) faults.push("a forbidden host heard");
  if (!isSteady || connectFailure === null) return faults;
  const { connect } = plan;
  if (plan.opener === "guest") {
    const expected = connect.kind === "accept"
      ? []
      : connect.kind === "refuse"
      ? FAILURES[connect.code]!
      : connect.kind === "forbidden"
      ? ["prohibited", "refused"]
      : ["unreachable"];
    if (!expected.includes(connectFailure)) {
      faults.push(`the connect ended in "${connectFailure}", not "${expected.join('" or "')}"`);
    }
  } else if (connect.kind === "accept") {
    faults.push("the guest listened, and the client was not connected");
  }
  return faults;
}

function judgeGuestToHost(stream: StreamLedger, guest: GuestLedger, host: EndLedger): string[] {
  const faults: string[] = [];
  if (host.takenBytes > guest.sentBytes) {
    faults.push(`the host took ${host.takenBytes} bytes of ${guest.sentBytes} that were sent`);
  }
  const hostBroke = host.hasAborted;
  const guestBroke = guest.hasAborted || stream.wasCut || guest.gaveUp;
  if (host.sawEnd && !guestBroke && guest.failure === null && !guest.sawReset) {
    if (!guest.hasFinished) faults.push("the host saw an end that the guest did not send");
    else if (host.takenBytes !== guest.sentBytes) {
      faults.push(`the host saw the end after ${host.takenBytes} of ${guest.sentBytes} bytes`);
    }
  }
  if (hostBroke) return faults;
  const acknowledged = guest.acknowledgedBytes;
  const isOwed = guest.wasToldAllBeforeCut || (!guestBroke && !guest.sawReset);
  if (isOwed && host.takenBytes < acknowledged) {
    faults.push(
      `${acknowledged} bytes were acknowledged to the guest, ${host.takenBytes} came to the host, ` +
        "and the guest saw no reset",
    );
  }
  const hasAll = guest.wasToldAllBeforeCut || (guest.isOrderly && !guestBroke);
  if (hasAll && !host.sawEnd) faults.push("the guest's end was acknowledged and never came");
  return faults;
}

function judgeHostToGuest(stream: StreamLedger, guest: GuestLedger, host: EndLedger): string[] {
  const faults: string[] = [];
  if (guest.takenBytes > host.sentBytes) {
    faults.push(`the guest took ${guest.takenBytes} bytes of ${host.sentBytes} that were sent`);
  }
  if (guest.sawEnd) {
    if (!host.hasFinished) faults.push("the guest saw an end that the host did not send");
    else if (guest.takenBytes !== host.sentBytes) {
      faults.push(`the guest saw the end after ${guest.takenBytes} of ${host.sentBytes} bytes`);
    }
  }
  const guestBroke = guest.hasAborted || stream.wasCut;
  if (guest.isOrderly && !guestBroke && guest.takenBytes !== host.sentBytes) {
    faults.push(`an orderly end after ${guest.takenBytes} of the host's ${host.sentBytes} bytes`);
  }
  return faults;
}

function judgeCompletion(
  stream: StreamLedger,
  guest: GuestLedger,
  host: EndLedger,
  { isCalm, mayTimeOut, mayLoseReset }: Expectation,
): string[] {
  const faults: string[] = [];
  // Who has sent everything and was told so sends nothing more that a second reset would answer.
  const asksNothing = guest.hasFinished && guest.acknowledgedBytes === guest.sentBytes;
  const missedReset = mayLoseReset && asksNothing && host.failure !== null;
  if (guest.gaveUp && !mayTimeOut && !stream.wasCut && !missedReset) {
    faults.push("nothing moved for minutes, and the guest was told nothing");
  }
  const behaved = !guest.hasAborted && !host.hasAborted && !host.plan.closesEarly;
  if (!isCalm || !behaved || stream.wasCut) return faults;
  if (!guest.isOrderly) {
    const { state, closeReason } = guest.connection;
    faults.push(`a good link, and yet it ended as ${state} (${closeReason})`);
  }
  return faults;
}
