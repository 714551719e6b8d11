/**
 * A guest's links, one after another, and what becomes of everything else meanwhile.
 *
 * A link that is lost leaves what the guest has in its place for the next one, as long as
 * `link_life.ts` says: flows keep silent (`stack/tcp/silence.ts`), and frames that were on their way
 * either way are dropped. Who comes with the next link shows with its first frame: the guest that
 * was there gets what was kept, another one nothing of it.
 *
 * Does not end the guest's network; whoever does says so first.
 *
 * @module
 */
import { closeQuietly } from "./close_quietly.ts";
import type { StreamEnd } from "./frame_stream.ts";
import type { FrameTransport } from "./frame_transport.ts";
import type { GuestNetworkOptions } from "./guest_options.ts";
import type { GuestParts } from "./guest_parts.ts";
import type { GuestTurn } from "./guest_turn.ts";
import type { LinkChange, LinkLife } from "./link_life.ts";

/** What has links. */
export interface GuestLifeOptions extends Pick<GuestNetworkOptions, "system" | "onLink"> {
  readonly parts: GuestParts;
  readonly turn: GuestTurn;
  readonly life: LinkLife;
}

/** The links of one guest. */
export class GuestLife {
  readonly #parts: GuestParts;
  readonly #turn: GuestTurn;
  readonly #life: LinkLife;
  readonly #now: () => number;
  readonly #onLink: ((change: LinkChange) => void) | undefined;
  /** Whether there may be names of before the link was away. */
  #hasKeptNames = false;
  #isClosing = false;
  #isFreed = false;

  constructor({ parts, turn, life, system, onLink }: GuestLifeOptions) {
    this.#parts = parts;
    this.#turn = turn;
    this.#life = life;
    this.#now = system.now;
    this.#onLink = onLink;
    parts.link.onGuest = (isSame) => this.#heard(isSame);
  }

  /** Serves link after link; resolves with why the last one has ended, once none follows. */
  async serve(): Promise<StreamEnd> {
    this.#parts.lan?.attach();
    let end = await this.#turn.bridge.run();
    while (this.#mayReturn(end)) {
      const lostMs = this.#now();
      const conn = await this.#detach(end);
      if (conn === null) break;
      if (this.#isEnding) { // in the moment of the return
        closeQuietly(conn);
        break;
      }
      this.#attach(conn, lostMs);
      end = await this.#turn.bridge.run();
    }
    this.#life.end();
    this.#parts.lan?.leave();
    return end;
  }

  /** Whether the VMM is away. */
  get isDetached(): boolean {
    return this.#life.isDetached || this.#life.isOver;
  }

  /** Whether no VMM is waited for any more. */
  get isOver(): boolean {
    return this.#life.isOver;
  }

  /** Takes another link in the place of the one that was lost; false where none was. */
  reattach(conn: FrameTransport): boolean {
    return !this.#isEnding && this.#life.offer(conn);
  }

  /** The guest looks for an address: it may know nothing of what was before the link was away. */
  startedAgain(): void {
    if (this.#hasKeptNames) {
      this.#hasKeptNames = false; // once: what it has asked for since is its own
      this.#parts.pins.clearMarked();
      this.#parts.dns.policyChanged();
    }
    this.#endKept("it looked for an address as one that was started");
  }

  /** The network ends in order: what is on its way may still arrive, and no link follows. */
  close(): void {
    this.#isClosing = true;
    this.#parts.lan?.leave(); // what others send would never end
  }

  /** The network ends at once. */
  free(): void {
    this.#isFreed = true;
    this.#life.end();
    this.#parts.lan?.leave();
  }

  get #isEnding(): boolean {
    return this.#isClosing || this.#isFreed;
  }

  /** Whether another link may take the place of one that has ended so. */
  #mayReturn(end: StreamEnd): boolean {
    if (this.#isEnding) return false;
    const { link } = this.#parts;
    switch (end) {
      case "closed by the VMM":
      case "read failed":
      case "write failed":
        // Who was never heard has nothing to be kept.
        return (link.guestMacKnown || link.hadGuest) && this.#life.lost();
      case "broken framing":
      case "stopped":
        return false;
      default:
        return end satisfies never;
    }
  }

  /** Nothing of the old stream may get into the next: frames on their way either way are dropped. */
  async #detach(reason: StreamEnd): Promise<FrameTransport | null> {
    const { device, lan, tcp, udpFlows, pins, pings, stack, wake } = this.#parts;
    device.isAway = true;
    lan?.leave();
    this.#turn.unblock();
    tcp.hush(this.#now());
    wake(); // nobody waits for the lane any more: downloads may read
    udpFlows.keepAll();
    pins.markAll();
    pings.closeAll();
    stack.reassembly.closeAll();
    const { bridge } = this.#turn;
    await bridge.close(0);
    if (this.#isFreed) return null;
    this.#turn.dropFrames();
    const next = this.#life.next(); // who hears of it may offer one at once
    this.#tellLink({ kind: "detached", reason, fault: bridge.fault });
    return await next;
  }

  #attach(conn: FrameTransport, lostMs: number): void {
    const { link, tcp, wake } = this.#parts;
    const nowMs = this.#now();
    this.#turn.attach(conn); // the device stays away until somebody is heard on it
    link.forgetGuest();
    this.#hasKeptNames = true;
    tcp.back(nowMs);
    this.#life.back(nowMs);
    this.#tellLink({ kind: "returned", awayMs: nowMs - lostMs });
    wake();
  }

  /** The first frame of a link, before anything is done with it. */
  #heard(isSame: boolean): void {
    const { device, lan, tcp } = this.#parts;
    this.#life.heard();
    if (!isSame) this.#otherGuest();
    tcp.readdress();
    if (device.isAway) {
      device.isAway = false;
      if (!this.#isClosing) lan?.attach();
    }
    tcp.heard(this.#now());
  }

  /** Another guest's flows, addresses and names are not this one's. */
  #otherGuest(): void {
    const { stack, pins, dnsRelay, dns, udpFlows } = this.#parts;
    stack.addresses.clear();
    this.#hasKeptNames = false;
    pins.clear();
    dnsRelay.nextGuest();
    dns.forget();
    udpFlows.keepAll(); // those too that clients have opened meanwhile, to its addresses
    this.#endKept("another MAC came back");
  }

  /** Frees the flows for which the guest has not spoken since the link was away: it lacks them. */
  #endKept(reason: string): void {
    const { link, tcp, udpFlows } = this.#parts;
    if (!link.hadGuest) return;
    const flows = tcp.endSilent() + udpFlows.closeKept();
    if (flows > 0) this.#tellLink({ kind: "freed", reason, flows });
  }

  /** Who listens may fail; the guest goes on. */
  #tellLink(change: LinkChange): void {
    try {
      this.#onLink?.(change);
    } catch (error) {
      this.#turn.caught(error);
    }
  }
}
