/**
 * The guest's flows as a table: filtered by words and protocol, sorted by a column, each with an end.
 *
 * Limit: `ROWS_MAX` rows; the count says how many there are beside.
 *
 * @module
 */
/// <reference lib="dom" />
import type { FlowReport, GatewayStatus } from "../api.ts";
import { button, byId, KeyedList, make, setText } from "./dom.ts";
import { bitRate, bytesText, spanText } from "./figures.ts";
import type { Gateway } from "./gateway.ts";
import { flowKey, FlowRates, type RatedFlow } from "./rates.ts";
import { shown } from "./shown.ts";
import { confirmed, say } from "./talk.ts";

const ROWS_MAX = 200;

type SortKey = "name" | "up" | "down" | "total" | "age";

const ORDERS: Readonly<Record<SortKey, (a: RatedFlow, b: RatedFlow) => number>> = {
  name: (a, b) => targetOf(b).localeCompare(targetOf(a)),
  up: (a, b) => a.up - b.up,
  down: (a, b) => a.down - b.down,
  total: (a, b) => totalOf(a) - totalOf(b),
  age: (a, b) => b.info.startedMs - a.info.startedMs,
};

/** Shows answers to `/v1/flows`. */
export class FlowsView {
  readonly #gateway: Gateway;
  readonly #rates = new FlowRates();
  readonly #filter = byId<HTMLInputElement>("flows-filter");
  readonly #protocol = byId<HTMLSelectElement>("flows-protocol");
  readonly #list: KeyedList<RatedFlow, HTMLTableRowElement>;
  #flows: readonly RatedFlow[] = [];
  #total = 0;
  #status: GatewayStatus | null = null;
  #sort: SortKey = "total";
  #isReversed = false;

  /** Takes the table over; `changed` is called where a flow was ended. */
  constructor(gateway: Gateway, changed: () => void) {
    this.#gateway = gateway;
    const table = byId("flows-table");
    this.#list = new KeyedList(table.querySelector("tbody")!, {
      key: ({ info }) => flowKey(info),
      make: (flow) => this.#row(flow, changed),
      update: updateRow,
    });
    this.#filter.addEventListener("input", () => this.#show());
    this.#protocol.addEventListener("change", () => this.#show());
    for (const head of table.querySelectorAll<HTMLElement>("th[data-sort]")) {
      head.querySelector("button")!.addEventListener("click", () => {
        const key = head.dataset.sort as SortKey;
        this.#isReversed = key === this.#sort && !this.#isReversed;
        this.#sort = key;
        this.#show();
      });
    }
  }

  /** Shows a list, as of a moment on a clock that is never set. */
  show({ flows, total }: FlowReport, status: GatewayStatus, atMs: number): void {
    this.#flows = this.#rates.take(flows, atMs);
    this.#total = total;
    this.#status = status;
    this.#show();
  }

  /** Another guest is shown from here on. */
  forget(): void {
    this.#rates.forget();
    this.#flows = [];
    this.#total = 0;
    this.#show();
  }

  #show(): void {
    const words = this.#filter.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const protocol = this.#protocol.value;
    const sign = this.#isReversed ? 1 : -1;
    const meant = this.#flows.filter(({ info }) => {
      return (protocol === "" || info.protocol === protocol) && hasWords(info, words);
    }).sort((a, b) => sign * ORDERS[this.#sort](a, b) || a.info.id - b.info.id);
    this.#list.show(meant.slice(0, ROWS_MAX));
    for (const head of document.querySelectorAll<HTMLElement>("th[data-sort]")) {
      if (head.dataset.sort !== this.#sort) head.removeAttribute("aria-sort");
      else {
        const isDown = (this.#sort === "name") === this.#isReversed;
        head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      }
    }
    this.#say(meant.length);
  }

  #say(meant: number): void {
    const rows = Math.min(meant, ROWS_MAX);
    setText(
      byId("flows-count"),
      this.#total === 0 ? "" : rows === this.#total ? `${rows}` : `${rows} of ${this.#total}`,
    );
    byId("flows-table").hidden = rows === 0;
    const empty = byId("flows-empty");
    empty.hidden = rows > 0;
    if (this.#flows.length > 0) setText(empty, "No flow fits the filter. Clear it to see all.");
    else if (this.#status?.guest === null) {
      setText(
        empty,
        `No guest is attached. Start a VMM that joins ${shown(this.#status.endpoint)}; ` +
          "the gateway's log has its arguments.",
      );
    } else setText(empty, "The guest has no flows at the moment. Its connections appear here.");
  }

  #row(flow: RatedFlow, changed: () => void): HTMLTableRowElement {
    const { info } = flow;
    const target = targetOf(flow);
    const way = info.opener === "guest" ? "from" : "to";
    const end = button("End", {
      name: `End the flow ${info.id}, ${info.protocol} ${target}`,
      run: () => void this.#end(flow, changed),
    });
    return make(
      "tr",
      "",
      make(
        "td",
        "target",
        target,
        make(
          "small",
          "",
          `${info.protocol} ${info.name === null ? "" : `${shown(info.peer)}, `}${way} ${
            shown(info.guest)
          }`,
        ),
      ),
      make("td", ""),
      make("td", "number"),
      make("td", "number"),
      make("td", "number"),
      make("td", "number"),
      make("td", "rule", info.rule === null ? "–" : shown(info.rule)),
      make("td", "", end),
    );
  }

  async #end(flow: RatedFlow, changed: () => void): Promise<void> {
    const { id } = flow.info;
    const target = targetOf(flow);
    const isSure = await confirmed(
      "End this flow?",
      `${flow.info.protocol} ${target}. Both ends are reset; the guest may open it again, unless a rule denies it.`,
      "End flow",
    );
    if (!isSure) return;
    try {
      await this.#gateway.askGuest("DELETE", `/flows/${id}`);
      say(`Ended ${target}`);
    } catch (error) {
      say((error as Error).message);
    }
    changed();
  }
}

function updateRow(row: HTMLTableRowElement, flow: RatedFlow): void {
  const { info, up, down } = flow;
  const cells = row.cells;
  setText(cells[1]!, shown(info.state));
  setText(cells[2]!, up === 0 ? "–" : bitRate(up).join(" "));
  setText(cells[3]!, down === 0 ? "–" : bitRate(down).join(" "));
  setText(cells[4]!, bytesText(totalOf(flow)));
  setText(cells[5]!, spanText(Date.now() - info.startedMs));
}

/** Where a flow leads: a name with the port, where one is known. */
function targetOf({ info: { opener, guest, peer, name } }: RatedFlow): string {
  const port = (place: string) => place.slice(place.lastIndexOf(":") + 1);
  if (opener === "host") return `${shown(peer)} to port ${shown(port(guest))}`;
  return shown(name === null ? peer : `${name === "" ? "." : name}:${port(peer)}`);
}

function totalOf({ info }: RatedFlow): number {
  return info.upBytes + info.downBytes;
}

function hasWords(info: RatedFlow["info"], words: readonly string[]): boolean {
  const { protocol, guest, peer, name, rule, state } = info;
  const text = `${protocol} ${guest} ${peer} ${name ?? ""} ${rule ?? ""} ${state}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
