/**
 * The server name of a TLS ClientHello (RFC 8446 sections 4.1.2 and 5.1, RFC 5246, RFC 6066
 * section 3), in any number of records and segments, for TLS 1.0 to 1.3.
 *
 * A record's minor version is ignored, as RFC 8446 asks. The rest is read strictly, since a server
 * that reads a doubtful hello in another way would serve another name: one `server_name` with one
 * `host_name` and nothing else, no extension twice, lengths that add up, no empty record, no other
 * record within the hello, nothing behind it in its last record.
 *
 * A hello with `encrypted_client_hello` (ECH, 0xfe0d, also as its drafts numbered it) or with the
 * `encrypted_server_name` before it is refused. With real ECH the name in the clear is only the
 * provider's, and the true one can't be read. A client without the server's ECH keys sends the same
 * extension filled with random octets (GREASE), and that the two can't be told apart is their
 * purpose. Leaving keys out of DNS answers makes honest clients send GREASE, and keeps nobody from
 * bringing keys along. So both are refused, unless whoever runs the gateway takes the name in the
 * clear for the name that is meant (`believesOuterName`): browsers send GREASE with every hello.
 *
 * Not seen, as it comes later or encrypted: a second hello after a HelloRetryRequest, a
 * renegotiation, and the Host of the requests inside.
 *
 * Nothing is kept of a hello that is not whole but how far it has come: a guest can't have more memory
 * taken than its own bytes lie in already. It is read once, where it lies; one that is cut into
 * several records is put together for that.
 *
 * @module
 */
import { octetText, readHostName } from "./host_name.ts";
import { type FlowReader, INSPECT_MAX_BYTES, type Inspected, MORE } from "./inspected.ts";

/** The first octet of a flow that begins with a handshake record. */
export const HANDSHAKE_RECORD = 22;

const RECORD_HEADER_BYTES = 5;
/** Longest plaintext of a record. */
const RECORD_MAX_BYTES = 16_384;
const MESSAGE_HEADER_BYTES = 4;
const CLIENT_HELLO = 1;
const MAJOR_VERSION = 3;
const SSL3 = 0x0300;
const DTLS_MAJOR_VERSION = 0xfe;
/** Version and random, in front of the session id. */
const HELLO_FIXED_BYTES = 34;
const SESSION_ID_MAX_BYTES = 32;
/** The extension, and the one type of name that it can hold. */
const SERVER_NAME = 0;
const HOST_NAME = 0;

/** ECH (RFC 9849) with the numbers of its drafts, and `encrypted_server_name`. */
const ENCRYPTING: ReadonlySet<number> = new Set(
  [0xfe0d, 0xfe0c, 0xfe0b, 0xfe0a, 0xfe09, 0xfe08, 0xff02, 0xffce],
);

const MALFORMED = refuse("the ClientHello is malformed");
const ENCRYPTED = refuse(
  "the ClientHello carries encrypted_client_hello (ECH, or GREASE that looks like it), so it may " +
    "ask for another name than it shows: switch ECH off in the client, or set policy: { ech: outer }",
);
const NO_NAME = refuse("the ClientHello has no server_name (SNI)");

/** Reads a flow that begins with a handshake record. */
export class ClientHelloReader implements FlowReader {
  readonly #believesOuterName: boolean;
  /** Octets of the flow that are done with. */
  #at = 0;
  /** Octets of the record that are still to come. */
  #recordLeftBytes = 0;
  /** Octets of the message that have come, and of all of it; its header alone until that is read. */
  #messageBytes = 0;
  #wholeBytes = MESSAGE_HEADER_BYTES;

  /** `believesOuterName`: whether a hello that may hide another name is taken by the one it shows. */
  constructor(believesOuterName: boolean) {
    this.#believesOuterName = believesOuterName;
  }

  /** See {@linkcode FlowReader}. */
  read(bytes: Uint8Array, end: number): Inspected {
    if (this.#at === 0 && end > 1 && bytes[1] !== MAJOR_VERSION) return noTls(bytes[1]!);
    for (;;) {
      if (this.#recordLeftBytes === 0) {
        if (end - this.#at < RECORD_HEADER_BYTES) return MORE;
        const fault = this.#openRecord(bytes);
        if (fault !== null) return fault;
      }
      if (this.#at === end) return MORE;
      this.#pass(end);
      if (this.#messageBytes < this.#wholeBytes) continue;
      const message = messageOf(bytes, this.#wholeBytes);
      if (this.#wholeBytes > MESSAGE_HEADER_BYTES) {
        return this.#recordLeftBytes > 0
          ? refuse("its record goes on behind the ClientHello")
          : readHello(message.subarray(MESSAGE_HEADER_BYTES), this.#believesOuterName);
      }
      const fault = this.#openMessage(message);
      if (fault !== null) return fault;
    }
  }

  /** See {@linkcode FlowReader}. */
  tooLong(): Inspected {
    return refuse(`the ClientHello is not whole within ${INSPECT_MAX_BYTES} bytes`);
  }

  #openRecord(bytes: Uint8Array): Inspected | null {
    const at = this.#at;
    const type = bytes[at]!;
    const length = word(bytes, at + 3);
    if (type !== HANDSHAKE_RECORD || bytes[at + 1] !== MAJOR_VERSION) {
      return refuse("another record stands within the ClientHello");
    }
    if (length === 0) return refuse("a record of the ClientHello is empty");
    if (length > RECORD_MAX_BYTES) return refuse(`a record is longer than ${RECORD_MAX_BYTES}`);
    this.#recordLeftBytes = length;
    this.#at += RECORD_HEADER_BYTES;
    return null;
  }

  #openMessage(header: Uint8Array): Inspected | null {
    if (header[0] !== CLIENT_HELLO) return refuse("its first handshake message is no ClientHello");
    const length = header[1]! * 0x10000 + word(header, 2);
    if (RECORD_HEADER_BYTES + MESSAGE_HEADER_BYTES + length > INSPECT_MAX_BYTES) {
      return this.tooLong();
    }
    if (length <= HELLO_FIXED_BYTES) return MALFORMED;
    this.#wholeBytes += length;
    return null;
  }

  /** Passes what belongs to the message, as far as it has come. */
  #pass(end: number): void {
    const missing = this.#wholeBytes - this.#messageBytes;
    const count = Math.min(missing, this.#recordLeftBytes, end - this.#at);
    this.#messageBytes += count;
    this.#recordLeftBytes -= count;
    this.#at += count;
  }
}

/** The first octets of the message of a flow, of which so many have come: where they lie, or a copy. */
function messageOf(bytes: Uint8Array, messageBytes: number): Uint8Array {
  if (word(bytes, 3) >= messageBytes) {
    return bytes.subarray(RECORD_HEADER_BYTES, RECORD_HEADER_BYTES + messageBytes);
  }
  const message = new Uint8Array(messageBytes);
  for (let at = 0, filled = 0; filled < messageBytes;) {
    const from = at + RECORD_HEADER_BYTES;
    const count = Math.min(word(bytes, at + 3), messageBytes - filled);
    message.set(bytes.subarray(from, from + count), filled);
    filled += count;
    at = from + count;
  }
  return message;
}

function noTls(majorVersion: number): Inspected {
  return {
    kind: "other",
    reason: majorVersion === DTLS_MAJOR_VERSION
      ? "it begins with a record of DTLS, which is no stream"
      : "its first octet is that of a TLS handshake, its second is not",
  };
}

function refuse(reason: string): Inspected {
  return { kind: "tls", name: null, reason };
}

/** Reads a whole hello, without the message's header. */
function readHello(hello: Uint8Array, believesOuterName: boolean): Inspected {
  if (hello[0] !== MAJOR_VERSION) return MALFORMED;
  if (word(hello, 0) === SSL3) return refuse("it asks for SSL 3.0, which has no server names");
  const sessionAt = HELLO_FIXED_BYTES;
  if (hello[sessionAt]! > SESSION_ID_MAX_BYTES) return MALFORMED;
  const suitesAt = vectorEnd(hello, sessionAt, 1, hello.length);
  if (suitesAt < 0) return MALFORMED;
  const compressionAt = vectorEnd(hello, suitesAt, 2, hello.length);
  // Suites are two octets each, and there is at least one.
  const suitesBytes = compressionAt - suitesAt - 2;
  if (suitesBytes <= 0 || suitesBytes % 2 !== 0) return MALFORMED;
  const extensionsAt = vectorEnd(hello, compressionAt, 1, hello.length);
  if (extensionsAt <= compressionAt + 1) return MALFORMED;
  if (extensionsAt === hello.length) return NO_NAME;
  if (vectorEnd(hello, extensionsAt, 2, hello.length) !== hello.length) return MALFORMED;
  return readExtensions(hello, extensionsAt + 2, believesOuterName);
}

function readExtensions(hello: Uint8Array, start: number, believesOuterName: boolean): Inspected {
  const seen = new Set<number>();
  let nameAt = -1;
  let nameEnd = -1;
  let encrypts = false;
  for (let at = start; at < hello.length;) {
    const end = vectorEnd(hello, at + 2, 2, hello.length);
    if (end < 0) return MALFORMED;
    const type = word(hello, at);
    if (seen.has(type)) return refuse("the ClientHello has an extension twice");
    seen.add(type);
    if (type === SERVER_NAME) {
      nameAt = at + 4;
      nameEnd = end;
    }
    encrypts ||= ENCRYPTING.has(type);
    at = end;
  }
  if (encrypts && !believesOuterName) return ENCRYPTED;
  return nameAt < 0 ? NO_NAME : readServerName(hello, nameAt, nameEnd);
}

/** Reads a `ServerNameList` that must be one host name. */
function readServerName(hello: Uint8Array, at: number, end: number): Inspected {
  if (vectorEnd(hello, at, 2, end) !== end) return MALFORMED;
  const entryAt = at + 2;
  const entryEnd = vectorEnd(hello, entryAt + 1, 2, end);
  if (entryEnd < 0) return MALFORMED;
  if (hello[entryAt] !== HOST_NAME || entryEnd !== end) {
    return refuse("server_name (SNI) is not one host name");
  }
  return { kind: "tls", ...readHostName(octetText(hello, entryAt + 3, end), "server_name (SNI)") };
}

/** Where the vector at `at` ends, or -1 where that is behind `end`. */
function vectorEnd(octets: Uint8Array, at: number, lengthBytes: 1 | 2, end: number): number {
  if (at + lengthBytes > end) return -1;
  const length = lengthBytes === 1 ? octets[at]! : word(octets, at);
  const to = at + lengthBytes + length;
  return to <= end ? to : -1;
}

function word(octets: Uint8Array, at: number): number {
  return (octets[at]! << 8) | octets[at + 1]!;
}
