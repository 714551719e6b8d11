/**
 * What a capture says about refusals: a comment with the rule and the way out, on the frame that
 * tells the guest.
 *
 * A refusal names a destination and no flow, and it may come long after the packet that it is about:
 * after a dial, a hello that was read, the program's own word. What comes right behind it, always,
 * is the answer: a reset or the first bytes of a page from that destination, an ICMP error that
 * quotes a packet to it, or the resolver's answer about that name. That is the frame that gets the
 * comment.
 *
 * A refusal whose answer does not come within `ANSWER_MS` is forgotten (an error was one too many in
 * a second, a question came over TCP). Limits: `PENDING_MAX` wait, the oldest go.
 *
 * @module
 */
import { type Denial, nameOrDestination } from "../policy/denial.ts";
import { parseIp } from "../wire/address.ts";
import { IpProtocol } from "../wire/ipv4.ts";
import { UDP_HEADER_BYTES } from "../wire/udp.ts";
import { askedName } from "./capture_names.ts";
import { FrameFields, isAddressAt, readQuoted } from "./frame_fields.ts";
import { commentBytes } from "./pcapng.ts";

const PENDING_MAX = 32;
const ANSWER_MS = 1_000;
const DNS_PORT = 53;

interface Pending {
  readonly denial: Denial;
  readonly untilMs: number;
  /** The destination; `null` for a lookup. */
  readonly peer: { readonly address: Uint8Array; readonly port: number } | null;
}

/** Refusals whose answers are about to be sent. */
export class DenialMarks {
  readonly #pending: Pending[] = [];
  readonly #quoted = new FrameFields();

  /** Whether any waits. */
  get isEmpty(): boolean {
    return this.#pending.length === 0;
  }

  /** Takes note of a refusal. */
  note(denial: Denial, nowMs: number): void {
    const peer = denial.protocol === "dns" ? null : peerOf(denial);
    if (peer === null && denial.protocol !== "dns") return;
    if (this.#pending.length >= PENDING_MAX) this.#pending.shift();
    this.#pending.push({ denial, untilMs: nowMs + ANSWER_MS, peer });
  }

  /**
   * The comment of a frame that is sent to the guest.
   *
   * @param view Where it is.
   * @param fields Its fields.
   * @param nowMs The time.
   * @returns The comment as a block takes it; `null` where there is nothing to say.
   */
  take(view: DataView, fields: FrameFields, nowMs: number): Uint8Array | null {
    while (this.#pending.length > 0 && this.#pending[0]!.untilMs < nowMs) this.#pending.shift();
    const at = this.#pending.findIndex((pending) => this.#isAnswer(view, fields, pending));
    if (at < 0) return null;
    const [{ denial }] = this.#pending.splice(at, 1) as [Pending];
    return commentBytes(denialComment(denial));
  }

  #isAnswer(view: DataView, fields: FrameFields, { denial, peer }: Pending): boolean {
    if (peer === null) return isAnswerAbout(view, fields, denial.name ?? "");
    const { protocol, addressBytes, sourceAt, sourcePort } = fields;
    const { address, port } = peer;
    if (protocol === IpProtocol.tcp) {
      return denial.protocol === "tcp" && sourcePort === port &&
        addressBytes === address.length && isAddressAt(view, sourceAt, address);
    }
    const quoted = this.#quoted;
    return readQuoted(view, fields, quoted) && isOf(quoted.protocol, denial.protocol) &&
      (denial.protocol === "icmp" || quoted.destinationPort === port) &&
      quoted.addressBytes === address.length && isAddressAt(view, quoted.destinationAt, address);
  }
}

/** What is said about a refusal: the rule and its place, why, and the way out where there is one. */
export function denialComment(denial: Denial): string {
  const { protocol, rule, origin, detail, hint } = denial;
  const by = origin === "" ? rule : `${rule} (${origin})`;
  const wayOut = hint === null ? "" : `; allow it with ${hint}`;
  return `denied ${protocol} ${nameOrDestination(denial)} by ${by}: ${detail}${wayOut}`;
}

function peerOf({ protocol, destination }: Denial): Pending["peer"] {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):([0-9]{1,5})$/.exec(destination) ??
    [];
  const address = parseIp(protocol === "icmp" ? destination : bracketed ?? plain ?? "");
  return address === null ? null : { address, port: Number(port ?? 0) };
}

function isOf(protocol: number, name: Denial["protocol"]): boolean {
  switch (name) {
    case "tcp":
      return protocol === IpProtocol.tcp;
    case "udp":
      return protocol === IpProtocol.udp;
    case "icmp":
      return protocol === IpProtocol.icmp || protocol === IpProtocol.icmp6;
    case "dns":
      return false;
  }
}

function isAnswerAbout(view: DataView, fields: FrameFields, name: string): boolean {
  const { protocol, sourcePort } = fields;
  return protocol === IpProtocol.udp && sourcePort === DNS_PORT &&
    askedName(udpPayload(view, fields)) === name;
}

/** The octets of a datagram; a view of them, which lasts as long as the frame. */
export function udpPayload(view: DataView, { payloadAt, end }: FrameFields): Uint8Array {
  const at = payloadAt + UDP_HEADER_BYTES;
  return new Uint8Array(view.buffer, view.byteOffset + at, Math.max(0, end - at));
}
