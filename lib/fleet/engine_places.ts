/**
 * Where guests are kept from the engine: at the addresses of its servers and, where one of them is on
 * this host, at the host's loopback and its other addresses as well.
 *
 * A cluster announces other servers as often as it likes, and each time all guests have another policy:
 * so that is looked at once, and then four times a second at most.
 *
 * @module
 */
import type { HostClock, Timer } from "../host/host_clock.ts";
import { hostSystem } from "../host/host_system.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import type { Engine, EngineAddress } from "./engine.ts";
import { placeOf } from "./engine_addresses.ts";

/** The servers that are named by their addresses. */
export function literalsOf(servers: readonly string[]): EngineAddress[] {
  return withLoopback(
    servers.map(placeOf).flatMap(({ hostname, port }) => {
      const octets = parseIp(hostname);
      return octets === null ? [] : [{ address: formatIp(octets), port }];
    }),
  );
}

/** One that is on this host may be reached by the loopback as well. */
export function withLoopback(addresses: readonly EngineAddress[]): EngineAddress[] {
  return addresses.flatMap((each) => {
    const isOwn = hostSystem.canBind(each.address) ?? true;
    return isOwn ? [each, { address: LOOPBACK, port: each.port }] : [each];
  });
}

const LOOPBACK = "127.0.0.1";

/** Between two looks at where the engine listens. */
const PAUSE_MS = 250;

/** Follows an engine to wherever it listens. */
export class EnginePlaces implements Disposable {
  readonly #engine: Pick<Engine, "addresses" | "onState">;
  readonly #take: (places: readonly EngineAddress[]) => Promise<void>;
  readonly #clock: HostClock;
  readonly #end: () => void;
  #isDue = false;
  #isBusy = false;
  #isOver = false;
  #timer: Timer | undefined;

  /**
   * Begins.
   *
   * @param engine The engine.
   * @param take Keeps guests from there; it is not told again before that is done.
   * @param clock What time it is.
   */
  constructor(
    engine: Pick<Engine, "addresses" | "onState">,
    take: (places: readonly EngineAddress[]) => Promise<void>,
    clock: HostClock = hostSystem,
  ) {
    this.#engine = engine;
    this.#take = take;
    this.#clock = clock;
    this.#end = engine.onState(() => this.#look());
  }

  /** Ends it. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#end();
    this.#clock.clearTimer(this.#timer);
  }

  #look(): void {
    this.#isDue = true;
    if (!this.#isBusy && !this.#isOver) void this.#tell();
  }

  async #tell(): Promise<void> {
    this.#isDue = false;
    this.#isBusy = true;
    await this.#take(withLoopback(this.#engine.addresses()));
    if (this.#isOver) return;
    this.#timer = this.#clock.setTimer(() => {
      this.#isBusy = false;
      if (this.#isDue) this.#look();
    }, PAUSE_MS);
  }
}
