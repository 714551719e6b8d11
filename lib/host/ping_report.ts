/**
 * What the host's `ping` program says of one echo request, read strictly: iputils and busybox.
 *
 * Only a whole answer counts: the program ended with 0, its last line says that one was received,
 * and one line tells an answer from the very address, of the very size, with the octets that were
 * sent. An answer that is cut short, altered or from elsewhere is none, since the guest would get
 * one that is whole.
 *
 * An error counts where the program has matched it with its request. iputils does; busybox warns of
 * whatever ICMP comes along, so there an error is silence. What the words do not say for certain is
 * silence too. Errors are a router's, whose address stays on this side.
 *
 * @module
 */
import { IcmpReason } from "../stack/icmp_errors.ts";
import { parseIp, sameBytes } from "../wire/address.ts";

/** What became of a request. */
export type PingOutcome =
  | { readonly kind: "answered" }
  | { readonly kind: "silent" }
  /** Somebody on the way, or the host's own network, said why not. */
  | { readonly kind: "error"; readonly reason: IcmpReason }
  /** The program itself could not do it. */
  | { readonly kind: "failed"; readonly text: string };

/** What is known of the program's run. */
export interface PingRun {
  /** Its exit code. */
  readonly code: number;
  /** What it printed, as far as that was kept. */
  readonly stdout: string;
  /** Its complaints, as far as they were kept. */
  readonly stderr: string;
  /** The address that was asked, 4 or 16 octets. */
  readonly address: Uint8Array;
  /** Octets of data in the request. */
  readonly dataBytes: number;
}

const SILENT: PingOutcome = { kind: "silent" };
const ECHO_HEADER_BYTES = 8;
const FAULT_CHARACTERS = 160;

const ANSWER = /^([0-9]{1,5}) bytes from ([0-9a-fA-F.:]{2,45}): (?:icmp_)?seq=[01]\b(.*)$/m;
const RECEIVED = /^1 packets transmitted, 1 (?:packets )?received,/m;
const DOUBTFUL = /DIFFERENT ADDRESS|truncated|wrong data|BAD CHECKSUM|DUP!/;
const ERROR = /^From [0-9a-fA-F.:]{2,45}(?:%[\w.-]+)?:? icmp_seq=1 (.+)$/m;
const LOCAL = /^(?:\S*\/)?ping: (?:connect|sendmsg|sendto): (.+)$/m;
const COMPLAINT = /^(?:\S*\/)?ping: (?!warning: )(.+)$/m;

/** The words of iputils about errors that came back. */
const REMOTE_REASONS: Readonly<Record<string, IcmpReason>> = {
  "Destination Net Unreachable": IcmpReason.networkUnreachable,
  "Destination Net Unknown": IcmpReason.networkUnreachable,
  "Destination Host Unreachable": IcmpReason.hostUnreachable,
  "Destination Host Unknown": IcmpReason.hostUnreachable,
  "Destination Protocol Unreachable": IcmpReason.protocolUnreachable,
  "Destination Port Unreachable": IcmpReason.portUnreachable,
  "Destination Net Prohibited": IcmpReason.adminProhibited,
  "Destination Host Prohibited": IcmpReason.adminProhibited,
  "Packet filtered": IcmpReason.adminProhibited,
  "Time to live exceeded": IcmpReason.timeExceeded,
  "Destination unreachable: No route": IcmpReason.networkUnreachable,
  "Destination unreachable: Administratively prohibited": IcmpReason.adminProhibited,
  "Destination unreachable: Address unreachable": IcmpReason.hostUnreachable,
  "Destination unreachable: Port unreachable": IcmpReason.portUnreachable,
  "Time exceeded: Hop limit": IcmpReason.timeExceeded,
};

/** The words of the C library about what the host itself could not send. */
const LOCAL_REASONS: Readonly<Record<string, IcmpReason>> = {
  "Network is unreachable": IcmpReason.networkUnreachable,
  "Cannot assign requested address": IcmpReason.networkUnreachable,
  "No route to host": IcmpReason.hostUnreachable,
  "Operation not permitted": IcmpReason.adminProhibited,
  "Permission denied": IcmpReason.adminProhibited,
};

/** Reads the report of a run that has ended by itself. */
export function readPingReport(run: PingRun): PingOutcome {
  if (run.code === 0) return isWholeAnswer(run) ? { kind: "answered" } : SILENT;
  const remote = ERROR.exec(run.stdout)?.[1]?.trim();
  if (remote !== undefined) return error(REMOTE_REASONS, remote);
  const local = LOCAL.exec(run.stderr)?.[1]?.trim();
  if (local !== undefined) return error(LOCAL_REASONS, local);
  // iputils ends with 1 where nothing came, and with 2 where it could not even ask; busybox has
  // nothing but 1, and then says on stderr what was wrong.
  const complaint = COMPLAINT.exec(run.stderr)?.[1];
  if (run.code === 1 && complaint === undefined) return SILENT;
  const text = (complaint ?? `it ended with ${run.code}`).slice(0, FAULT_CHARACTERS);
  return { kind: "failed", text };
}

function isWholeAnswer({ stdout, address, dataBytes }: PingRun): boolean {
  const answer = ANSWER.exec(stdout);
  if (answer === null || !RECEIVED.test(stdout) || DOUBTFUL.test(stdout)) return false;
  const from = parseIp(answer[2]!);
  return from !== null && sameBytes(from, address) &&
    Number(answer[1]) === dataBytes + ECHO_HEADER_BYTES;
}

function error(reasons: Readonly<Record<string, IcmpReason>>, words: string): PingOutcome {
  if (!Object.hasOwn(reasons, words)) return SILENT;
  return { kind: "error", reason: reasons[words]! };
}
