/** Reads the messages in fixtures/dns, and makes the ordinary ones that tests ask with. */
import { Buffer } from "node:buffer";
import packet from "dns-packet";

/** The message of `fixtures/dns/NAME.hex`. */
export function vector(name: string): Uint8Array {
  const url = new URL(`../../fixtures/dns/${name}.hex`, import.meta.url);
  const octets = Deno.readTextFileSync(url)
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .flatMap((line) => line.split(" "))
    .filter((octet) => octet !== "");
  return Uint8Array.from(octets, (octet) => parseInt(octet, 16));
}

/** What a question message says beside its name. */
export interface AskOptions {
  /** Type by its name in dns-packet. */
  type?: string;
  /** The message's id. */
  id?: number;
  /** UDP size to announce; no EDNS where absent. */
  udpBytes?: number;
}

/** A question message, made by dns-packet. */
export function ask(name: string, { type = "A", id = 0x1234, udpBytes }: AskOptions = {}) {
  const additionals = udpBytes === undefined
    ? []
    : [{ type: "OPT", name: ".", udpPayloadSize: udpBytes, flags: 0, options: [] }];
  const flags = packet.RECURSION_DESIRED;
  return new Uint8Array(
    packet.encode({ type: "query", id, flags, questions: [{ type, name }], additionals }),
  );
}

/** A message as dns-packet reads it. */
// deno-lint-ignore no-explicit-any -- the package comes without types
export function decode(message: Uint8Array): any {
  return packet.decode(Buffer.from(message));
}
