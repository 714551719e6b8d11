/**
 * What gateways of a fleet say of themselves, and the names of services that come of it.
 *
 * A line is a step: `GATEWAY JSON` is an announcement on that gateway's subject, `gone GATEWAY JSON`
 * a departure, `own JSON` what the gateway itself announces, `pass MS` time, `ask NAME` a question.
 *
 * Oracles: nothing throws; what is read has its bounds, and is read again as it was written; no name
 * leads to an address that is not another host's, and none of an own guest to what others say; names
 * are a zone that resolvers take, a change of them has another version, and what is asked of the zone
 * is answered with what it was made from.
 *
 * @module
 */
import { SERVICES_MAX, ServiceZone } from "../../../lib/dns/service_zone.ts";
import {
  ADDRESSES_MAX,
  ANNOUNCEMENT_MAX_BYTES,
  encodeAnnouncement,
  encodeDeparture,
  GUEST_SERVICES_MAX,
  GUESTS_MAX,
  isReachable,
  readAnnouncement,
  readDeparture,
} from "../../../lib/fleet/announcement.ts";
import { Registry } from "../../../lib/fleet/registry.ts";
import { parseIp } from "../../../lib/wire/address.ts";
import { saying } from "../../fleet/announcements.ts";
import type { Mutator } from "../mutate.ts";
import { hold } from "../rig.ts";
import type { Signal } from "../signal.ts";
import type { FuzzTarget } from "../target.ts";

const KIND_FAULT = 100;
const KIND_STATE = 101;
const KIND_ANSWER = 102;
const SELF = "home";
const ZONE = "fleet.internal";
const STEPS_MAX = 64;

/** The target. */
export const registryTarget: FuzzTarget = {
  name: "registry",
  about: "announcements of a fleet's gateways, and the names of services that come of them",
  form: "txt",
  *seeds() {
    for (const [name, text] of Object.entries(SEEDS)) yield [name, [encode(text)]];
  },
  mutate: ([text = encode("")], mutator) => [encode(mutateSteps(decode(text), mutator))],
  run: ([bytes = encode("")], signal) => new World(signal).run(decode(bytes)),
};

class World {
  readonly #registry = new Registry(SELF, ({ holder, other }) => {
    hold(holder !== other, "a conflict is between two");
  });
  readonly #signal: Signal;
  #nowMs = 0;
  #zone = new ServiceZone(ZONE, "");
  #version = 0;

  constructor(signal: Signal) {
    this.#signal = signal;
  }

  run(text: string): void {
    for (const line of text.split("\n").slice(0, STEPS_MAX)) {
      this.#step(line);
      this.#check();
    }
  }

  #step(line: string): void {
    const [verb = "", rest = ""] = cut(line);
    switch (verb) {
      case "pass":
        this.#nowMs += Math.min(60_000, Math.abs(Number.parseInt(rest)) || 0);
        if (rest.includes("deaf")) this.#registry.refresh(this.#nowMs);
        else this.#registry.expire(this.#nowMs);
        return;
      case "gone": {
        const [gateway = "", said = ""] = cut(rest);
        const read = readDeparture(encode(said), gateway);
        if (typeof read === "string") this.#signal.noteText(KIND_FAULT, read);
        else this.#registry.leave(read);
        return;
      }
      case "ask":
        return this.#ask(rest.toLowerCase());
      default:
        return this.#hear(verb, rest);
    }
  }

  #hear(subject: string, said: string): void {
    const isOwn = subject === "own";
    const gateway = isOwn ? SELF : subject;
    const read = readAnnouncement(encode(said), gateway);
    if (typeof read === "string") {
      hold(/^[\x20-\x7e]{1,200}$/.test(read), () => `a reason is short and printable: ${read}`);
      // A number of theirs may stand in it.
      return this.#signal.noteText(KIND_FAULT, read.replace(/\d+|address .*/g, ""));
    }
    hold(read.gateway === gateway, "nobody speaks for another one");
    hold(read.guests.length <= GUESTS_MAX, "guests have a bound");
    for (const { services } of read.guests) {
      hold(services.length <= GUEST_SERVICES_MAX, "services have a bound");
      for (const { addresses } of services) {
        hold(addresses.length > 0 && addresses.length <= ADDRESSES_MAX, "addresses have a bound");
        hold(
          addresses.every((each) => isReachable(parseIp(each)!)),
          "addresses are of other hosts",
        );
      }
    }
    const { data, left } = encodeAnnouncement(read);
    hold(data.length <= ANNOUNCEMENT_MAX_BYTES, "what is written has a bound");
    if (left === 0) {
      const again = JSON.stringify(readAnnouncement(data, gateway));
      hold(again === JSON.stringify(read), "what was read is read again as it was written");
    }
    if (isOwn) this.#registry.hearOwn(read);
    else this.#registry.hear(this.#nowMs, read);
  }

  #check(): void {
    const text = this.#registry.services();
    if (text !== this.#zone.text) {
      const isKnown = this.#registry.version > this.#version;
      hold(isKnown, "names that change have another version");
      this.#zone = new ServiceZone(ZONE, text);
    }
    this.#version = this.#registry.version;
    const { gateways, services, conflicts } = this.#registry.report();
    hold(services === text.split("\n").length - 1, "the report counts the names");
    hold(services <= SERVICES_MAX && conflicts >= 0, "the report is right");
    this.#signal.note(KIND_STATE, gateways * 8 + conflicts, Math.min(services, 31));
  }

  #ask(name: string): void {
    if (!this.#zone.covers(name)) return;
    const { exists, records } = this.#zone.find(name);
    hold(exists || records.length === 0, "what does not exist has no records");
    for (const octets of this.#zone.addresses(name)) {
      hold(isReachable(octets), "a name leads to other hosts");
    }
    this.#signal.note(KIND_ANSWER, Number(exists), records.length);
  }
}

/** The first word, and the rest. */
function cut(line: string): [string, string] {
  const at = line.indexOf(" ");
  return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
}

const NAMES = ["db", "app", "-db", "x"] as const;
const SERVICES = [
  "web:8080@10.0.0.5",
  "web:53/udp@10.0.0.5",
  "api:80@9.9.9.9,fd00::5",
  "web:1@192.168.0.1",
] as const;
const GATEWAYS = [SELF, "host-1", "host-2", "own"] as const;
const WORDS = [
  "127.0.0.1",
  "169.254.169.254",
  "::ffff:10.0.0.1",
  "64:ff9b::7f00:1",
  "0.0.0.0",
  "null",
  "1e400",
  "-1",
  "[]",
  "{}",
  '"__proto__":{},',
  '"attached":false',
  "\\u0000",
  "a.b",
  '"v":2',
  " ",
];

function mutateSteps(text: string, mutator: Mutator): string {
  const { random } = mutator;
  const lines = text.split("\n");
  const at = random.below(lines.length + 1);
  switch (random.below(8)) {
    case 0:
      lines.splice(at, 1);
      break;
    case 1:
      lines.splice(at, 0, lines[random.below(lines.length)]!);
      break;
    case 2:
      lines.splice(at, 0, ...decode(mutator.other()[0] ?? encode("")).split("\n"));
      break;
    case 3:
      lines.splice(at, 0, `pass ${random.below(9_000)}${random.once(3) ? " deaf" : ""}`);
      break;
    case 4: {
      const gateway = random.pick(GATEWAYS);
      const name = gateway === "own" ? SELF : gateway;
      const guests = Object.fromEntries(
        Array.from({ length: random.below(3) }, () => [
          random.pick(NAMES),
          SERVICES.filter(() => random.once(3)),
        ]),
      );
      const said = saying(name, guests, {
        instance: random.once(4) ? "11111111" : "00000000",
        startedMs: random.below(3),
      });
      lines.splice(at, 0, `${gateway} ${decode(encodeAnnouncement(said).data)}`);
      break;
    }
    case 5: {
      const gateway = random.pick(GATEWAYS);
      const said = decode(encodeDeparture({ gateway, instance: "00000000" }));
      lines.splice(at, 0, `gone ${gateway} ${said}`);
      break;
    }
    default: {
      const line = Math.min(at, lines.length - 1);
      lines[line] = decode(mutator.bytes(encode(lines[line]!), WORDS));
    }
  }
  return lines.slice(0, STEPS_MAX).join("\n");
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function said(gateway: string, guests: Readonly<Record<string, readonly string[]>>): string {
  const name = gateway === "own" ? SELF : gateway;
  return `${gateway} ${decode(encodeAnnouncement(saying(name, guests)).data)}`;
}

const WEB = { db: ["web:8080@10.0.0.5,fd00::5", "dns:53/udp@10.0.0.5"] };

const SEEDS: Readonly<Record<string, string>> = {
  one: [
    said("host-1", WEB),
    "ask web.db.fleet.internal",
    "ask _web._tcp.db.fleet.internal",
    "ask fleet.internal",
    "pass 8000",
    "ask web.db.fleet.internal",
  ].join("\n"),
  two: [
    said("own", { app: ["api:80@10.0.0.1"] }),
    said("host-1", WEB),
    "pass 2500",
    said("host-2", WEB),
    `gone host-1 ${decode(encodeDeparture({ gateway: "host-1", instance: "00000000" }))}`,
    "pass 5000 deaf",
    "ask web.db.fleet.internal",
  ].join("\n"),
  wrong: [
    said("host-1", WEB).replace("10.0.0.5", "127.0.0.1"),
    said("host-1", WEB).replace("host-1", "host-2"),
    said("host-1", WEB).replace("8080", "0"),
    "gone host-1 {}",
    "host-1 [",
  ].join("\n"),
};
