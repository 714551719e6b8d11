/**
 * The states of a connection and the moves between them (RFC 9293 section 3.3.2), seen from the
 * gateway, which plays the guest's peer; and what a connection tells its owner.
 *
 *      guest's SYN             open()
 *          │                     │
 *          ▼ (held)              ▼
 *       offered              synSent ──SYN──▶ synReceived
 *          │ accept()            │ SYN+ACK        │ ACK
 *          ▼                     ▼                ▼
 *     synReceived ──ACK──▶  established ◀─────────┘
 *                            │        │
 *                   finish() │        │ guest's FIN
 *                            ▼        ▼
 *                       finWait1    closeWait
 *               ACK │   FIN │           │ finish()
 *                   ▼       ▼           ▼
 *             finWait2   closing     lastAck
 *                FIN │       │ ACK       │ ACK
 *                    ▼       ▼           ▼
 *                   timeWait ─────▶  closed ◀── RST, abort(), timeouts
 *
 * `offered` is the RFC's LISTEN with a SYN in hand: held, unanswered, until the owner decides.
 *
 * @module
 */
import type { TcpConnection } from "./connection.ts";

/** States of a connection. */
export const TcpState = {
  offered: "offered",
  synSent: "synSent",
  synReceived: "synReceived",
  established: "established",
  finWait1: "finWait1",
  finWait2: "finWait2",
  closeWait: "closeWait",
  closing: "closing",
  lastAck: "lastAck",
  timeWait: "timeWait",
  closed: "closed",
} as const;
/** One of `TcpState`. */
export type TcpState = typeof TcpState[keyof typeof TcpState];

/** What a connection tells its owner, as bits. */
export const TcpEvent = {
  /** The handshake is complete. */
  established: 1,
  /** In-order bytes or the guest's FIN are ready. */
  readable: 2,
  /** The send ring has room again after `sendSpan` found none. */
  writable: 4,
  /** Nothing more will happen; `closeReason` says why. */
  closed: 8,
} as const;

/** Why a connection is closed. */
export type TcpCloseReason = "finished" | "reset" | "aborted" | "timeout" | "refused" | "evicted";

/** Who is told of a connection's events. */
export interface TcpOwner {
  /** Called once a turn with the bits of `TcpEvent` that have gathered. */
  onTcpEvents(connection: TcpConnection, events: number): void;
}

const LEGAL_MOVES: Readonly<Record<TcpState, readonly TcpState[]>> = {
  offered: ["synReceived", "closed"],
  synSent: ["established", "finWait1", "synReceived", "closed"],
  synReceived: ["established", "finWait1", "closeWait", "closed"],
  established: ["finWait1", "closeWait", "closed"],
  finWait1: ["finWait2", "closing", "timeWait", "closed"],
  finWait2: ["timeWait", "closed"],
  closeWait: ["lastAck", "closed"],
  closing: ["timeWait", "closed"],
  lastAck: ["closed"],
  timeWait: ["closed"],
  closed: [],
};

/** Whether a connection may go from one state to another. */
export function isLegalMove(from: TcpState, to: TcpState): boolean {
  return LEGAL_MOVES[from].includes(to);
}
