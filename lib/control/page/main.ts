/**
 * The page from its unlocking on: asks the gateway in turns and hands the answers to the views.
 *
 *     locked ──token──▶ live ◀──────▶ lost (asks again, less and less often)
 *        ▲                │
 *        └─lock, refused──┘
 *
 * Nothing is asked and no stream is held while the page is hidden or locked. One turn at a time: an
 * answer that takes long makes turns rarer, never more.
 *
 * @module
 */
/// <reference lib="dom" />
import type { PolicyConfig } from "../../config/options.ts";
import type { GatewayEvent } from "../../host/gateway_event.ts";
import type { DenialReport, DnsReport, FlowReport, GatewayStatus, GuestsReport } from "../api.ts";
import { DnsView } from "./dns_view.ts";
import { byId, setText } from "./dom.ts";
import { EventStream } from "./event_stream.ts";
import { EventsView } from "./events_view.ts";
import { timeText } from "./figures.ts";
import { FlowsView } from "./flows_view.ts";
import { Gateway, Refusal } from "./gateway.ts";
import { GuestSelect } from "./guest_select.ts";
import { OverviewView } from "./overview_view.ts";
import { Plots } from "./plots.ts";
import { PolicyView } from "./policy_view.ts";
import { PortsView } from "./ports_view.ts";
import { RateHistory } from "./rates.ts";
import { RefusedView } from "./refused_view.ts";
import { shown } from "./shown.ts";
import { startTheme } from "./theme.ts";

const TITLE = "virtio-gateway";
const TURN_MS = 1_000;
const AGAIN_MAX_MS = 10_000;
/** Turns between two looks at what changes seldom, or is announced by an event. */
const FLOWS_TURNS = 2;
const SELDOM_TURNS = 5;

/** The page. */
class Page {
  readonly #gateway = new Gateway();
  readonly #history = new RateHistory();
  readonly #plots = new Plots();
  readonly #overview = new OverviewView();
  readonly #flows: FlowsView;
  readonly #refused = new RefusedView();
  readonly #ports: PortsView;
  readonly #dns: DnsView;
  readonly #policy: PolicyView;
  readonly #events = new EventsView();
  readonly #stream: EventStream;
  readonly #guests: GuestSelect;
  /** Whether the list of guests is that of the gateway that answers. */
  #areGuestsKnown = false;
  #isLive = false;
  #isAsking = false;
  #turn = 0;
  #failures = 0;
  #timer = 0;
  #answeredMs = 0;
  /** Whether all is looked at in the next turn. */
  #isDue = true;
  /** Whether that turn comes at once, as somebody has done something. */
  #isHurried = false;

  constructor() {
    const changed = (): void => this.#soon();
    this.#flows = new FlowsView(this.#gateway, changed);
    this.#ports = new PortsView(this.#gateway, changed);
    this.#dns = new DnsView(this.#gateway, changed);
    this.#policy = new PolicyView(this.#gateway);
    this.#stream = new EventStream(this.#gateway, {
      event: (event) => this.#event(event),
      state: (state) => this.#events.state(state),
    });
    this.#guests = new GuestSelect(() => this.#choose());
    startTheme(() => this.#plots.recolor());
    byId("unlock").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#unlock();
    });
    byId("lock").addEventListener("click", () => this.#lock(""));
    byId("retry").addEventListener("click", () => this.#soon());
    document.addEventListener("visibilitychange", () => this.#visible());
    addEventListener("hashchange", () => {
      if (!location.hash.startsWith("#token=")) return;
      this.#gateway.findToken();
      void this.#try();
    });
    this.#gateway.findToken();
    if (this.#gateway.hasToken) void this.#try();
    else byId("token").focus();
  }

  async #unlock(): Promise<void> {
    const field = byId<HTMLInputElement>("token");
    const token = field.value.trim();
    if (!/^[!-~]+$/.test(token)) {
      return setText(byId("token-error"), "A token has neither spaces nor other signs than ASCII.");
    }
    this.#gateway.setToken(token, { isKept: byId<HTMLInputElement>("keep").checked });
    await this.#try();
  }

  /** Tries the token; what else goes wrong is said beside it. */
  async #try(): Promise<void> {
    setText(byId("token-error"), "");
    try {
      await this.#findGuests();
    } catch (error) {
      return this.#lock(
        error instanceof Refusal ? error.message : "The gateway does not answer. Is it running?",
      );
    }
    byId<HTMLInputElement>("token").value = "";
    const isFirst = !this.#isLive;
    this.#isLive = true;
    byId("unlock").hidden = true;
    for (const id of ["board", "sections", "lock"]) byId(id).hidden = false;
    if (isFirst) byId("main").focus({ preventScroll: true });
    this.#visible();
  }

  /** Which guests there are, and the one that is meant. */
  async #findGuests(): Promise<void> {
    const { guests } = await this.#gateway.ask<GuestsReport>("GET", "/v1/guests");
    this.#guests.show(guests);
    this.#areGuestsKnown = true;
    if (this.#guests.guest !== this.#gateway.guest) this.#choose();
  }

  /** Shows another guest: what is there is not its own. */
  #choose(): void {
    const { guest } = this.#guests;
    this.#gateway.guest = guest;
    document.title = guest === null ? TITLE : `${shown(guest)} · ${TITLE}`;
    this.#history.forget();
    this.#flows.forget();
    this.#policy.forget();
    document.documentElement.classList.add("stale");
    this.#soon();
  }

  #lock(why: string): void {
    this.#isLive = false;
    this.#gateway.forgetToken();
    this.#guests.forget();
    this.#areGuestsKnown = false;
    this.#pause();
    this.#found();
    for (const id of ["board", "sections", "lock"]) byId(id).hidden = true;
    byId("unlock").hidden = false;
    byId("state").dataset.state = "locked";
    setText(byId("state"), "Locked");
    setText(byId("token-error"), why);
    byId<HTMLInputElement>("token").select();
    byId("token").focus();
  }

  #visible(): void {
    if (!this.#isLive || document.hidden) return this.#pause();
    this.#stream.open();
    this.#soon();
  }

  #pause(): void {
    clearTimeout(this.#timer);
    this.#stream.close();
    this.#history.gap(Date.now());
  }

  /** Looks at everything, now or as soon as the turn under way is over. */
  #soon(): void {
    this.#isDue = true;
    this.#isHurried = true;
    if (this.#isAsking || !this.#isLive) return;
    clearTimeout(this.#timer);
    void this.#ask();
  }

  async #ask(): Promise<void> {
    this.#isAsking = true;
    this.#isHurried = false;
    try {
      const { guest } = this.#gateway;
      await this.#look();
      this.#failures = 0;
      if (guest === this.#gateway.guest) this.#found();
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) this.#lock(error.message);
      else if (this.#isLive) this.#miss(error as Error);
    } finally {
      this.#isAsking = false;
    }
    if (!this.#isLive || document.hidden) return;
    const waitMs = this.#failures === 0
      ? this.#isHurried ? 0 : TURN_MS
      : Math.min(AGAIN_MAX_MS, TURN_MS * 2 ** (this.#failures - 1));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(), waitMs) as unknown as number;
  }

  async #look(): Promise<void> {
    const isDue = this.#isDue;
    this.#isDue = false;
    const turn = this.#turn++;
    const isSeldom = isDue || turn % SELDOM_TURNS === 0;
    const gateway = this.#gateway;
    const get = <T>(path: string, isAsked: boolean): Promise<T | null> =>
      isAsked ? gateway.askGuest<T>("GET", path) : Promise.resolve(null);
    try {
      if (!this.#areGuestsKnown) await this.#findGuests();
      const { guest } = gateway;
      const [status, flows, denials, dns, policy] = await Promise.all([
        gateway.askGuest<GatewayStatus>("GET", "/status"),
        get<FlowReport>("/flows?limit=1000", isDue || turn % FLOWS_TURNS === 0),
        get<DenialReport>("/denials", isSeldom),
        get<DnsReport>("/dns", isSeldom),
        get<PolicyConfig>("/policy", isSeldom),
      ]);
      // Another guest may have been chosen meanwhile.
      if (!this.#isLive || guest !== gateway.guest) return;
      const nowMs = performance.now();
      this.#answeredMs = Date.now();
      const rates = this.#history.take(status, nowMs, this.#answeredMs);
      this.#overview.show(status, rates);
      this.#plots.show(this.#history.moments);
      this.#ports.show(status.published);
      if (flows !== null) this.#flows.show(flows, status, nowMs);
      if (denials !== null) this.#refused.show(denials);
      if (dns !== null) this.#dns.show(dns);
      if (policy !== null) this.#policy.show(policy);
    } catch (error) {
      this.#isDue = true;
      throw error;
    }
  }

  #event(event: GatewayEvent): void {
    this.#events.add(event);
    this.#isDue = true;
  }

  #miss(error: Error): void {
    this.#failures++;
    this.#areGuestsKnown = false;
    this.#history.gap(Date.now());
    this.#overview.lost();
    document.documentElement.classList.add("stale");
    const why = error instanceof Refusal ? `The gateway says: ${error.message}.` : "";
    setText(byId("lost-why"), why);
    setText(byId("lost-since"), this.#answeredMs === 0 ? "–" : timeText(this.#answeredMs));
    byId("lost").hidden = false;
  }

  #found(): void {
    byId("lost").hidden = true;
    document.documentElement.classList.remove("stale");
  }
}

new Page();
