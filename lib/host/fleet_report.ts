/**
 * How a gateway stands in its fleet, as plain data: what makes it is the fleet's part, what shows it
 * is the control interface, and neither has to know the other.
 *
 * @module
 */

/**
 * How a gateway stands in its fleet. As {@linkcode GatewayClient.fleet} yields it.
 */
export interface FleetReport {
  /** The fleet's name. */
  readonly fleet: string;
  /** This gateway's name in it. */
  readonly gateway: string;
  /** The connection to the engine. */
  readonly engine: FleetEngineReport;
  /** The fleet's policy, as it is in force here. */
  readonly policy: FleetPolicyReport;
  /** What other gateways have announced. */
  readonly registry: FleetRegistryReport;
  /** What this gateway has recorded. */
  readonly audit: FleetAuditReport;
}

/** A connection to the engine. Part of what {@linkcode GatewayClient.fleet} yields. */
export interface FleetEngineReport {
  /** Where it stands: `refused` where the engine does not let the gateway in. */
  readonly state: "connecting" | "connected" | "refused" | "closed";
  /** The server, `HOST:PORT`; `null` while there is none. */
  readonly server: string | null;
  /** Why it is not connected, or was not the last time; `null` where nothing went wrong. */
  readonly error: string | null;
}

/** A fleet's policy in force. Part of what {@linkcode GatewayClient.fleet} yields. */
export interface FleetPolicyReport {
  /**
   * Where it comes from: the engine, the copy of what the engine said before this start, or nowhere,
   * and then nothing is reached.
   */
  readonly source: "engine" | "copy" | "closed";
  /** The number of the bucket's change up to which all is in force; `null` for none. */
  readonly revision: number | null;
  /** The documents of which it is made, the widest first. */
  readonly documents: readonly FleetDocumentReport[];
  /** What the engine has that is not in force, and why; `null` where all of it is. */
  readonly rejected: FleetRejection | null;
  /** When it was put into force, in milliseconds since 1970. */
  readonly atMs: number;
}

/** A document that is in force. Part of what {@linkcode GatewayClient.fleet} yields. */
export interface FleetDocumentReport {
  /** `fleet`, `group.NAME` or `guest.NAME`. */
  readonly key: string;
  /** The number of its change. */
  readonly revision: number;
}

/** What is not put into force. Part of what {@linkcode GatewayClient.fleet} yields. */
export interface FleetRejection {
  /** The number of the bucket's change; `null` where there is no such bucket. */
  readonly revision: number | null;
  /** Why not. */
  readonly why: string;
}

/** What others have announced. Part of what {@linkcode GatewayClient.fleet} yields. */
export interface FleetRegistryReport {
  /** Gateways that are there. */
  readonly gateways: number;
  /** Services that have a name. */
  readonly services: number;
  /** Names of guests, or of gateways, that two gateways announce. */
  readonly conflicts: number;
  /** Messages that were wrong or too many, and gateways and guests for which there was no place. */
  readonly refused: number;
}

/** Records of the audit. Part of what {@linkcode GatewayClient.fleet} yields. */
export interface FleetAuditReport {
  /** Records that the engine has not acknowledged. */
  readonly waiting: number;
  /** What they take on disk. */
  readonly waitingBytes: number;
  /** When the oldest of them was, in milliseconds since 1970; `null` where none waits. */
  readonly oldestMs: number | null;
  /** Records that it has acknowledged since the start. */
  readonly sent: number;
  /** Records that had to be dropped since the start. */
  readonly shed: number;
  /** Events that came faster than they were noted. */
  readonly lost: number;
  /** Why it is not delivered, or not kept on disk; `null` where both are well. */
  readonly problem: string | null;
}

/** Of an audit that nothing has happened in. */
export const NO_AUDIT: FleetAuditReport = {
  waiting: 0,
  waitingBytes: 0,
  oldestMs: null,
  sent: 0,
  shed: 0,
  lost: 0,
  problem: null,
};
