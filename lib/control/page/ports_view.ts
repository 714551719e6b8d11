/**
 * Published ports: which there are, one more, one less.
 *
 * @module
 */
/// <reference lib="dom" />
import type { PublishedPort } from "../../config/published.ts";
import { button, byId, KeyedList, make, setText } from "./dom.ts";
import type { Gateway } from "./gateway.ts";
import { shown } from "./shown.ts";
import { confirmed, say } from "./talk.ts";

/** Shows the ports of an answer to `/v1/status`. */
export class PortsView {
  readonly #gateway: Gateway;
  readonly #changed: () => void;
  readonly #list: KeyedList<PublishedPort, HTMLLIElement>;

  /** Takes list and form over; `changed` is called where a port came or went. */
  constructor(gateway: Gateway, changed: () => void) {
    this.#gateway = gateway;
    this.#changed = changed;
    this.#list = new KeyedList(byId("ports-list"), {
      key: (port) => `${placeOf(port)} ${port.guestPort}`,
      make: (port) => this.#row(port),
    });
    const form = byId<HTMLFormElement>("ports-form");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#publish(form);
    });
  }

  /** Shows them. */
  show(published: readonly PublishedPort[]): void {
    this.#list.show(published);
    byId("ports-empty").hidden = published.length > 0;
  }

  #row(port: PublishedPort): HTMLLIElement {
    const place = placeOf(port);
    return make(
      "li",
      "",
      make("span", "grow", make("code", "", place), ` → guest’s port ${port.guestPort}`),
      button("Remove", { name: `Remove ${place}`, run: () => void this.#unpublish(port) }),
    );
  }

  async #publish(form: HTMLFormElement): Promise<void> {
    const error = byId("ports-error");
    setText(error, "");
    const values = new FormData(form);
    const bind = String(values.get("bind"));
    try {
      const { published } = await this.#gateway.askGuest<{ published: readonly PublishedPort[] }>(
        "POST",
        "/ports",
        {
          hostPort: Number(values.get("hostPort")),
          guestPort: Number(values.get("guestPort")),
          protocol: String(values.get("protocol")),
          ...(bind === "" ? {} : { bind: [bind] }),
        },
      );
      say(`Published ${published.map(placeOf).join(" and ")}`);
      form.reset();
    } catch (fault) {
      setText(error, (fault as Error).message);
    }
    this.#changed();
  }

  async #unpublish(port: PublishedPort): Promise<void> {
    const place = placeOf(port);
    const isSure = await confirmed(
      "Remove this port?",
      port.protocol === "udp"
        ? `${place} no longer leads to the guest; its flows end.`
        : `${place} no longer leads to the guest; connections that came through it go on.`,
      "Remove port",
    );
    if (!isSure) return;
    try {
      const query = new URLSearchParams({ bind: port.bind, protocol: port.protocol });
      await this.#gateway.askGuest("DELETE", `/ports/${port.hostPort}?${query}`);
      say(`Removed ${place}`);
    } catch (fault) {
      say((fault as Error).message);
    }
    this.#changed();
  }
}

function placeOf({ protocol, bind, hostPort }: PublishedPort): string {
  if (protocol === "unix") return shown(`unix:${bind}`);
  const place = bind.includes(":") ? `[${bind}]:${hostPort}` : `${bind}:${hostPort}`;
  return shown(protocol === "udp" ? `${place}/udp` : place);
}
