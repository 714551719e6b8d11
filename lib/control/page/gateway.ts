/**
 * Asks the gateway that served this page, and only it.
 *
 * The token is kept in memory, and in the tab's storage where the operator says so. It comes from the
 * form, or from the address's fragment, which no request carries and which is taken out at once; it
 * goes out as a header alone.
 *
 * @module
 */
/// <reference lib="dom" />
import type { ControlErrorBody } from "../api.ts";

const STORED_AS = "virtio-gateway.token";
const FRAGMENT = /^#token=([!-~]+)$/;
/** A gateway that says nothing for so long is gone. */
const ANSWER_MS = 10_000;

/** What the gateway has refused, in its words. */
export class Refusal extends Error {
  /** The answer's status. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The gateway behind this page. */
export class Gateway {
  /** The guest that is asked about; `null` where one alone is served. */
  guest: string | null = null;
  #token: string | null = null;

  /** Whether there is a token to try. */
  get hasToken(): boolean {
    return this.#token !== null;
  }

  /** Takes the token of the address, or else of the tab. */
  findToken(): void {
    const [, given] = FRAGMENT.exec(location.hash) ?? [];
    if (location.hash.startsWith("#token=")) {
      history.replaceState(null, "", location.pathname + location.search);
    }
    this.#token = given ?? sessionStorage.getItem(STORED_AS);
  }

  /** Takes a token. */
  setToken(token: string, { isKept }: { readonly isKept: boolean }): void {
    this.#token = token;
    if (isKept) sessionStorage.setItem(STORED_AS, token);
  }

  /** Forgets it everywhere. */
  forgetToken(): void {
    this.#token = null;
    sessionStorage.removeItem(STORED_AS);
  }

  /**
   * Asks.
   *
   * @throws {Refusal} Where the gateway says no; any other error means that it was not reached.
   */
  async ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await this.#fetch(path, {
      method,
      signal: AbortSignal.timeout(ANSWER_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
    });
    return await answer.json();
  }

  /** Asks about the guest; the path is what stands behind `/v1`. */
  askGuest<T>(method: string, path: string, body?: unknown): Promise<T> {
    const start = this.guest === null ? "" : `/guests/${encodeURIComponent(this.guest)}`;
    return this.ask(method, `/v1${start}${path}`, body);
  }

  /** Opens the stream of the events of all guests, from behind one that was seen. */
  async events(lastEventId: string | null, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = lastEventId === null
      ? {}
      : { "Last-Event-ID": lastEventId };
    return await this.#fetch("/v1/events", { signal, headers });
  }

  async #fetch(
    path: string,
    init: RequestInit & { readonly headers: Record<string, string> },
  ): Promise<Response> {
    const authorization = this.#token === null ? {} : { Authorization: `Bearer ${this.#token}` };
    const answer = await fetch(path, {
      ...init,
      headers: { ...init.headers, ...authorization },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
    if (answer.ok) return answer;
    const fault = await answer.json().catch(() => null) as ControlErrorBody | null;
    const { message = `status ${answer.status}`, hint = "" } = fault?.error ?? {};
    throw new Refusal(answer.status, hint === "" ? message : `${message}. ${hint}`);
  }
}
