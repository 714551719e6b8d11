/**
 * The resolver behind the gateway, and the guest that asks it.
 *
 *     const resolver = new Resolver(gw, { "pypi.org": ["151.101.0.223"] });
 *     await resolver.lookUp("pypi.org");       // { rcode: "NOERROR", addresses: ["151.101.0.223"], … }
 *     resolver.asked;                          // ["pypi.org A"]
 *
 * A value is an address, `-> NAME` for an alias, or a record; addresses stand where an alias ends,
 * and are given whatever type is asked for.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { assert, assertEquals } from "@std/assert";
import packet from "dns-packet";
import { concat, ethernet, GATEWAY4, GUEST4, ip4, udp } from "../support/packets.ts";
import type { HostileGuest } from "./hostile_guest.ts";

/** The gateway's upstream, as `VirtualGateway` sets it. */
export const RESOLVER = "10.0.0.53";

/** A record as the packet library has it. */
// deno-lint-ignore no-explicit-any
type PacketRecord = any;

/** What a name has. */
export type Zone = Record<string, readonly (string | PacketRecord)[]>;

/** What came of a lookup. */
export interface Outcome {
  readonly rcode: string;
  /** The code and text of the extended error, such as `15 denied by …`; `null` for none. */
  readonly extended: string | null;
  readonly addresses: string[];
  readonly answers: PacketRecord[];
  readonly bytes: Uint8Array;
}

/** An upstream with a zone, and the guest's side of it. */
export class Resolver {
  /** What came from the gateway: `NAME TYPE`. */
  readonly asked: string[] = [];
  zone: Zone;
  ttl = 60;
  /** How long an answer takes. */
  delayMs = 0;
  readonly #gw: HostileGuest;
  #id = 100;

  constructor(gw: HostileGuest, zone: Zone, upstream = RESOLVER) {
    this.#gw = gw;
    this.zone = zone;
    gw.host.udp(upstream, 53, (bytes, reply) => {
      const { id, questions } = packet.decode(Buffer.from(bytes));
      const [{ name, type }] = questions as [{ name: string; type: string }];
      this.asked.push(`${name} ${type}`);
      const answers = this.#recordsOf(name.toLowerCase(), name);
      const message = { type: "response", id, flags: 0x180, questions, answers } as PacketRecord;
      const answer = answers.length > 0 ? new Uint8Array(packet.encode(message)) : nothing(bytes);
      reply(answer, { delayMs: this.delayMs });
    });
  }

  /** The guest asks, with EDNS, and has its answer. */
  async lookUp(name: string, type = "A"): Promise<Outcome> {
    await this.ask(name, type);
    await this.#gw.run(this.delayMs);
    const [outcome, ...more] = this.outcomes();
    assert(outcome !== undefined, `${name} has an answer`);
    assertEquals(more, []);
    return outcome;
  }

  /** The guest asks. */
  async ask(name: string, type = "A"): Promise<void> {
    const id = ++this.#id;
    const question = packet.encode({
      type: "query",
      id,
      flags: packet.RECURSION_DESIRED,
      questions: [{ type, name }],
      additionals: [{ type: "OPT", name: ".", udpPayloadSize: 1232 }],
    } as PacketRecord);
    await this.askRaw(new Uint8Array(question));
  }

  /** The guest sends a message. */
  async askRaw(message: Uint8Array): Promise<void> {
    const data = udp(GUEST4, 5300, GATEWAY4, 53, message);
    await this.#gw.sends(ethernet(ip4(data, { destination: GATEWAY4 })));
  }

  /** Answers that have come for the guest. */
  outcomes(): Outcome[] {
    return this.#gw.taken(({ protocol, payload }) => {
      if (protocol !== 17 || payload[1] !== 53 || payload[0] !== 0) return null;
      return read(payload.slice(8));
    });
  }

  #recordsOf(name: string, owner: string): PacketRecord[] {
    return (this.zone[name] ?? []).flatMap((value) => {
      if (typeof value !== "string") return [{ name: owner, ttl: this.ttl, ...value }];
      if (value.startsWith("-> ")) {
        const target = value.slice(3);
        const alias = { type: "CNAME", name: owner, ttl: this.ttl, data: target };
        return [alias, ...this.#recordsOf(target.toLowerCase(), target)];
      }
      const type = value.includes(":") ? "AAAA" : "A";
      return [{ type, name: owner, ttl: this.ttl, data: value }];
    });
  }
}

/** The answer that there is nothing, to a question whose name may have any octets. */
function nothing(question: Uint8Array): Uint8Array {
  const answer = question.slice();
  answer.set([0x81, 0x80], 2);
  return answer;
}

function read(bytes: Uint8Array): Outcome {
  const message = packet.decode(Buffer.from(bytes)) as PacketRecord;
  const options: PacketRecord[] = message.additionals[0]?.options ?? [];
  const error = options.find(({ code }) => code === 15)?.data;
  return {
    rcode: message.rcode,
    extended: error === undefined
      ? null
      : `${error[0] * 256 + error[1]} ${new TextDecoder().decode(error.subarray(2))}`,
    addresses: message.answers
      .filter(({ type }: PacketRecord) => type === "A" || type === "AAAA")
      .map(({ data }: PacketRecord) => data),
    answers: message.answers,
    bytes,
  };
}

/** An HTTPS record with these parameters, by their keys. */
export function httpsRecord(params: readonly (readonly [key: number, value: readonly number[]])[]) {
  const words = (value: number) => [value >> 8, value & 255];
  const body = params.map(([key, value]) => [...words(key), ...words(value.length), ...value]);
  return { type: "UNKNOWN_65", data: Buffer.from(concat([0, 1, 0], ...body)) };
}
