/**
 * What has happened since the page was opened, the latest first.
 *
 * @module
 */
/// <reference lib="dom" />
import type { GatewayEvent } from "../../host/gateway_event.ts";
import { byId, make, setText } from "./dom.ts";
import type { StreamState } from "./event_stream.ts";
import { spanText, timeText } from "./figures.ts";
import { shown } from "./shown.ts";

const ROWS_MAX = 100;

const STATES: Readonly<Record<StreamState, string>> = {
  open: "live",
  waiting: "waiting for the gateway",
  full: "too many read events already; trying again",
};

/** Shows events. */
export class EventsView {
  /** Says how the stream is. */
  state(state: StreamState): void {
    setText(byId("events-state"), STATES[state]);
  }

  /** Shows one more. */
  add(event: GatewayEvent): void {
    const list = byId("events-list");
    const time = "timeMs" in event ? timeText(event.timeMs) : "";
    const [tag, text] = words(event);
    list.prepend(
      make(
        "li",
        "",
        make("time", "", time),
        ...(event.guest === undefined ? [] : [make("span", "tag guest", shown(event.guest))]),
        make("span", `tag ${event.type === "denial" ? "no" : ""}`, tag),
        make("div", "grow", text),
      ),
    );
    if (list.children.length > ROWS_MAX) list.lastElementChild!.remove();
    byId("events-empty").hidden = true;
  }
}

function words(event: GatewayEvent): [tag: string, text: string] {
  switch (event.type) {
    case "denial": {
      const target = event.name ?? event.destination;
      return ["refused", `${event.protocol} ${shown(target)}: ${shown(event.detail)}`];
    }
    case "guest-attached":
      return ["guest", "a guest has attached"];
    case "guest-detached":
      return ["guest", `the VMM is away, all is kept: ${shown(event.reason)}`];
    case "guest-returned":
      return ["guest", `the VMM is back after ${spanText(event.awayMs)}`];
    case "guest-left":
      return ["guest", `the guest has left: ${shown(event.reason)}`];
    case "policy-changed":
      return ["policy", `another policy is in force, ${event.rules} rules`];
    case "events-lost":
      return ["lost", `${event.count} events were missed`];
    default:
      return ["other", shown((event satisfies never as { type: string }).type)];
  }
}
