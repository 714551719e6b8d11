/**
 * Which protocol a guest's flow speaks, and for which name, told by its first bytes: so that a rule
 * that names a domain lets through only TLS and HTTP that ask for that domain.
 *
 * The first octet tells TLS from HTTP. A verdict follows from the bytes in their order, however
 * they are cut into segments, and stays. At most `INSPECT_MAX_BYTES` are looked at, each one a
 * bounded number of times, so a flow of one-byte segments costs no more than a long one.
 *
 * What a name is worth: it is what the client says. That the flow leads to an address of that name
 * is for others to see to, and neither tells what a server does behind it (domain fronting).
 *
 * @module
 */
import { ClientHelloReader, HANDSHAKE_RECORD } from "./client_hello.ts";
import { beginsHttp, HttpHeadReader } from "./http_head.ts";
import { type FlowReader, INSPECT_MAX_BYTES, type Inspected, MORE } from "./inspected.ts";

export { INSPECT_MAX_BYTES, type Inspected } from "./inspected.ts";

const OTHER: Inspected = Object.freeze({
  kind: "other",
  reason: "its first byte begins neither a TLS handshake nor an HTTP request",
});

/** Looks at one flow. */
export class Inspector {
  readonly #believesOuterName: boolean;
  #reader: FlowReader | null = null;
  #verdict = MORE;

  /** `believesOuterName`: see `client_hello.ts`. */
  constructor(believesOuterName = false) {
    this.#believesOuterName = believesOuterName;
  }

  /**
   * What is known so far.
   *
   * @param bytes All bytes of the flow that have come, from its first; never fewer than before.
   * @returns The verdict; once it is not `more`, it stays.
   */
  inspect(bytes: Uint8Array): Inspected {
    if (this.#verdict !== MORE || bytes.length === 0) return this.#verdict;
    const end = Math.min(bytes.length, INSPECT_MAX_BYTES);
    this.#reader ??= this.#readerOf(bytes[0]!);
    this.#verdict = this.#reader?.read(bytes, end) ?? OTHER;
    if (this.#verdict === MORE && end === INSPECT_MAX_BYTES) {
      this.#verdict = this.#reader!.tooLong();
    }
    if (this.#verdict !== MORE) this.#reader = null;
    return this.#verdict;
  }

  #readerOf(octet: number): FlowReader | null {
    if (octet === HANDSHAKE_RECORD) return new ClientHelloReader(this.#believesOuterName);
    return beginsHttp(octet) ? new HttpHeadReader() : null;
  }
}
