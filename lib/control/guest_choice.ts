/**
 * Which guest a request is about: the only one that there is, or the one that its path names.
 *
 * A gateway that serves one guest without a name has it under `ONLY_GUEST` too, so that who asks below
 * `/v1/guests/` need not know which kind of gateway answers.
 *
 * @module
 */
import { nearestName } from "../config/nearest.ts";
import type { Awaitable } from "../host/gateway.ts";
import type { EventStream } from "../host/gateway_event.ts";
import type { ServedGateway } from "../host/served_gateway.ts";
import type { GuestWorker, ServedGuests } from "../host/served_guests.ts";
import { ControlFault } from "./control_fault.ts";

/** The name of a guest that has none. */
export const ONLY_GUEST = "default";

/** How many names a fault lists. */
const LISTED_MAX = 8;
const NAME = /^[a-z0-9-]{1,63}$/;

/** A guest's gateway and its name. */
export interface ChosenGuest {
  readonly guest: string;
  readonly gateway: ServedGateway;
}

/** The guests that are served, be it one or several. */
export class GuestChoice {
  readonly #only: ServedGateway | null;
  readonly #several: ServedGuests | null;

  /** Takes one gateway, or several by the names of their guests. */
  constructor(gateways: ServedGateway | ServedGuests) {
    const hasNames = "names" in gateways;
    this.#only = hasNames ? null : gateways;
    this.#several = hasNames ? gateways : null;
  }

  /** All names, in their order. */
  get names(): readonly string[] {
    return this.#several?.names ?? [ONLY_GUEST];
  }

  /** Whether a request has to name one. */
  get areSeveral(): boolean {
    return this.names.length > 1;
  }

  /**
   * The guest of a name.
   *
   * @throws {ControlFault} Where there is none.
   */
  named(name: string): ChosenGuest {
    if (this.names.includes(name)) {
      return { guest: name, gateway: this.#only ?? this.#several!.guest(name) };
    }
    // What is no name is not said back.
    const isName = NAME.test(name);
    const near = isName ? nearestName(name, this.names) : null;
    throw new ControlFault(
      "no-guest",
      `there is no guest ${isName ? `"${name}"` : "of that name"}`,
      {
        hint: this.#listed(`${near === null ? "" : `Did you mean "${near}"? `}Guests: `),
      },
    );
  }

  /**
   * The guest of a request that names none.
   *
   * @throws {ControlFault} Where there are several.
   */
  unnamed(): ChosenGuest {
    const [first] = this.names;
    if (first !== undefined && !this.areSeveral) return this.named(first);
    throw new ControlFault("guest-needed", `${this.names.length} guests are served: name one`, {
      hint: this.#listed(`Use --guest NAME, or a path below /v1/guests/NAME/. Guests: `),
    });
  }

  /** The shared network of a guest; `null` for none. */
  network(name: string): string | null {
    return this.#several?.network(name) ?? null;
  }

  /** The workers that serve them. */
  workers(): Awaitable<readonly GuestWorker[]> {
    return this.#several?.workers() ?? [];
  }

  /** What happens at all of them. */
  events(signal: AbortSignal): EventStream {
    return (this.#several ?? this.#only!).events(signal);
  }

  #listed(start: string): string {
    const shown = this.names.slice(0, LISTED_MAX).join(", ");
    const more = this.names.length - LISTED_MAX;
    return `${start}${shown}${more > 0 ? ` and ${more} more` : ""}`;
  }
}
