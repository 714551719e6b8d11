/**
 * ARP towards the guest (RFC 826, RFC 5227): the gateway answers for its own IPv4 address, probes
 * included, and for nothing else.
 *
 * There is no table to poison: the link has one guest, whose MAC is the link's. A packet that
 * claims the gateway's address or another MAC is dropped (CVE-2020-29130). The guest's replies and
 * announcements are well-formed noise and pass unanswered. The gateway itself asks only when a link
 * has come back (`ask`), to hear whether the guest is there.
 *
 * @module
 */
import { Counter } from "./counters.ts";
import type { Link } from "./link.ts";
import {
  ARP_BYTES,
  ArpOperation,
  arpOperation,
  arpSenderIpAt,
  arpSenderMacAt,
  arpTargetIpAt,
  isArpForIpv4,
  writeArp,
} from "../wire/arp.ts";
import { EtherType, sameMac } from "../wire/ethernet.ts";

const DROP = Counter["drop.arp"];

/** Answers the guest's questions for the gateway's MAC. */
export class ArpResponder {
  readonly #link: Link;

  constructor(link: Link) {
    this.#link = link;
  }

  /** Takes an ARP packet: `at` is the Ethernet payload, `bytes` its length. */
  process(at: number, bytes: number): void {
    const link = this.#link;
    const { view } = link.memory;
    if (bytes < ARP_BYTES || !isArpForIpv4(view, at)) return this.#drop();
    const operation = arpOperation(view, at);
    if (operation !== ArpOperation.request && operation !== ArpOperation.reply) return this.#drop();
    const gateway = view.getUint32(link.gatewayIp4At);
    if (view.getUint32(arpSenderIpAt(at)) === gateway) return this.#drop();
    if (!sameMac(view, arpSenderMacAt(at), link.guestMacAt)) return this.#drop();
    if (operation !== ArpOperation.request) return;
    if (view.getUint32(arpTargetIpAt(at)) !== gateway) return;
    this.#reply(at);
  }

  /** Asks the guest for its MAC, which is known: that it answers says that it is there. */
  ask(): void {
    const link = this.#link;
    const at = link.beginEthernet(EtherType.arp, ARP_BYTES);
    if (at < 0) return;
    const { memory, gatewayMacAt, gatewayIp4At, guestIp4At } = link;
    writeArp(memory, at, ArpOperation.request, gatewayMacAt, gatewayIp4At, -1, guestIp4At);
    link.end();
  }

  #reply(at: number): void {
    const link = this.#link;
    const out = link.beginEthernet(EtherType.arp, ARP_BYTES);
    if (out < 0) return;
    writeArp(
      link.memory,
      out,
      ArpOperation.reply,
      link.gatewayMacAt,
      link.gatewayIp4At,
      arpSenderMacAt(at),
      arpSenderIpAt(at),
    );
    link.end();
  }

  #drop(): void {
    this.#link.counters.values[DROP]!++;
  }
}
