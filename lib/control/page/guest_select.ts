/**
 * Which of several guests the page is about: a choice in the bar, which the address keeps as
 * `?guest=NAME`, so that it outlives a reload and can be handed on. Where one guest alone is served
 * there is nothing to choose.
 *
 * @module
 */
/// <reference lib="dom" />
import type { GuestListing } from "../api.ts";
import { byId, make } from "./dom.ts";
import { shown } from "./shown.ts";

const PARAMETER = "guest";

/** The choice. */
export class GuestSelect {
  readonly #select = byId<HTMLSelectElement>("guest");
  #names: readonly string[] = [];

  /** Takes the choice over; `changed` is called where a person makes one. */
  constructor(changed: () => void) {
    this.#select.addEventListener("change", () => {
      const address = new URL(location.href);
      address.searchParams.set(PARAMETER, this.#select.value);
      history.replaceState(null, "", address);
      changed();
    });
  }

  /** The guest that is meant; `null` where there is one alone. */
  get guest(): string | null {
    return this.#names.length > 1 ? this.#select.value : null;
  }

  /** Offers none: who is locked out is told no names. */
  forget(): void {
    this.#names = [];
    this.#select.replaceChildren();
    byId("guest-choice").hidden = true;
  }

  /** Offers these; the one that was chosen stays where it is among them. */
  show(guests: readonly GuestListing[]): void {
    const names = guests.map(({ name }) => name);
    byId("guest-choice").hidden = names.length < 2;
    if (names.join() === this.#names.join()) return;
    const wanted = new URL(location.href).searchParams.get(PARAMETER) ?? "";
    const first = guests.find(({ fault }) => fault === null)?.name ?? names[0] ?? "";
    this.#names = names;
    this.#select.replaceChildren(...names.map((name) => {
      const option = make("option", "", shown(name));
      option.value = name;
      return option;
    }));
    this.#select.value = names.includes(wanted) ? wanted : first;
  }
}
