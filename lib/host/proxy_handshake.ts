/**
 * What the ways to a proxy share: reads and writes of exact lengths, and failures that a dial can
 * tell apart.
 *
 * A host that speaks first may follow in the same segment as the proxy's last word, so nobody here
 * asks for an octet more than the proxy still owes.
 *
 * @module
 */

/** A failure's kind, as the system would name it. */
export type ProxyFailureCode =
  | "EACCES"
  | "EAFNOSUPPORT"
  | "ECONNREFUSED"
  | "ECONNRESET"
  | "EHOSTUNREACH"
  | "ENETUNREACH"
  | "ETIMEDOUT";

/** Why a proxy leads nowhere. */
export class ProxyFailure extends Error {
  readonly code: ProxyFailureCode;
  /** Whether it is the proxy or its setting that is wrong, and not the destination. */
  readonly isFault: boolean;

  constructor(code: ProxyFailureCode, message: string, isFault: boolean) {
    super(message);
    this.name = "ProxyFailure";
    this.code = code;
    this.isFault = isFault;
  }
}

/** Where a proxy is to lead: a literal, never a name. */
export interface ProxyTarget {
  /** 4 or 16 octets. */
  readonly address: Uint8Array;
  readonly port: number;
}

/** Something that is read from and written to. */
export type ProxyStream = Pick<Deno.TcpConn, "read" | "write">;

/** Writes all octets. */
export async function writeAll(stream: ProxyStream, bytes: Uint8Array): Promise<void> {
  let at = 0;
  while (at < bytes.length) at += await stream.write(bytes.subarray(at));
}

/** Reads at most as much as `into` holds, and at least one octet. */
export async function readSome(stream: ProxyStream, into: Uint8Array): Promise<number> {
  const count = await stream.read(into);
  if (count !== null) return count;
  throw new ProxyFailure("ECONNRESET", "the proxy closed the connection without an answer", true);
}

/** Reads so many octets. */
export async function readExactly(stream: ProxyStream, bytes: number): Promise<Uint8Array> {
  const into = new Uint8Array(bytes);
  let at = 0;
  while (at < bytes) at += await readSome(stream, into.subarray(at));
  return into;
}
