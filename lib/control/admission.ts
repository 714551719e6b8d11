/**
 * Who may ask what of the control interface, judged by the head of a request.
 *
 *     browser of another page? ─▶ in the table? ─▶ token ─▶ is the body what it should be?
 *
 * Any page that a person of this machine looks at can send requests to its loopback, under a name
 * that it has made lead there (DNS rebinding), or as a form's text/plain. So over TCP the Host has to
 * be the loopback's own, an Origin has to be that host's page, a body has to be application/json,
 * which no page sends elsewhere unasked, and a token is asked for, since every user of the machine
 * reaches the port. A unix socket's file is its user's alone (mode 0600), and no browser reaches it:
 * whatever comes from one there is refused.
 *
 * @module
 */
import type { Endpoint } from "../config/endpoint.ts";
import { formatHostPort } from "../config/endpoint.ts";
import { ControlFault } from "./control_fault.ts";
import type { RequestHead } from "./http_head.ts";
import { type FoundRoute, RouteTable } from "./route_table.ts";
import type { Route } from "./route.ts";

const HTTP_PORT = 80;
const encoder = new TextEncoder();

/** Judges the heads of requests. */
export class Admission {
  readonly #table: RouteTable;
  /** Values of Host that are ours; `null` where any is. */
  readonly #hosts: ReadonlySet<string> | null;
  readonly #token: Uint8Array | null;

  /**
   * Makes a judge.
   *
   * @param routes The table.
   * @param endpoint Where the interface is, its port known.
   * @param token What who asks has to know; `null` where the socket is private.
   */
  constructor(routes: readonly Route[], endpoint: Endpoint, token: string | null) {
    this.#table = new RouteTable(routes);
    this.#hosts = endpoint.transport === "tcp" ? ownHosts(endpoint) : null;
    this.#token = token === null ? null : encoder.encode(token);
  }

  /**
   * Finds what a request asks for.
   *
   * @throws {ControlFault} Where it is not admitted.
   */
  route(head: RequestHead): FoundRoute {
    this.#refuseForeign(head.headers);
    const found = this.#table.find(head);
    if (found.route.isOpen !== true) this.#checkToken(head.headers);
    this.#checkBody(head, found.route);
    return found;
  }

  /** The path of the table's line that a request is for, whoever sends it; `null` for none. */
  pathOf(head: RequestHead): string | null {
    return this.#table.pathOf(head.path);
  }

  #refuseForeign(headers: ReadonlyMap<string, string>): void {
    const host = headers.get("host")!.toLowerCase();
    if (this.#hosts !== null && !this.#hosts.has(host)) {
      throw forbidden("the request's Host is none of this interface's", {
        hint: `Ask it as ${[...this.#hosts][0]}`,
      });
    }
    const origin = headers.get("origin");
    const isOwn = this.#hosts !== null && origin !== undefined &&
      origin.toLowerCase() === `http://${host}`;
    if (origin !== undefined && !isOwn) throw this.#anotherPage();
    const site = headers.get("sec-fetch-site");
    const isOwnSite = this.#hosts !== null && (site === "same-origin" || site === "none");
    if (site !== undefined && !isOwnSite) throw this.#anotherPage();
  }

  #anotherPage(): ControlFault {
    if (this.#hosts === null) {
      return forbidden("the request comes from a browser's page", {
        hint: "A browser is served over TCP alone: --control tcp:127.0.0.1:7655 and a token",
      });
    }
    return forbidden("the request comes from another page than this interface's own", {
      hint: `Open http://${[...this.#hosts][0]}/`,
    });
  }

  #checkToken(headers: ReadonlyMap<string, string>): void {
    if (this.#token === null) return;
    const [, given] = /^bearer +([!-~]+)$/i.exec(headers.get("authorization") ?? "") ?? [];
    if (given !== undefined && isSame(encoder.encode(given), this.#token)) return;
    const what = given === undefined ? "the request has no token" : "the token is another one";
    throw new ControlFault("unauthorized", what, {
      hint: "Send Authorization: Bearer, with what stands in the file of its --control-token",
      headers: { "WWW-Authenticate": `Bearer realm="virtio-gateway"` },
    });
  }

  #checkBody({ headers, bodyBytes }: RequestHead, route: Route): void {
    if (route.takes === undefined) {
      if (bodyBytes === 0) return;
      throw new ControlFault("bad-request", `${route.method} ${route.path} takes no body`, {
        hint: "Send it without one, and without Content-Length",
      });
    }
    const type = headers.get("content-type") ?? "";
    if (/^application\/json(?:[ \t]*;[ \t]*charset="?utf-8"?)?$/i.test(type)) return;
    // No page reaches a private socket, so what curl sends by itself is as good there.
    if (route.isGvproxy === true && this.#hosts === null) return;
    throw new ControlFault("unsupported-media-type", "the body is not said to be JSON", {
      hint: "Send Content-Type: application/json",
    });
  }
}

/** What a client on this machine writes as Host. */
function ownHosts({ hostname, port }: { hostname: string; port: number }): Set<string> {
  const names = new Set([hostname, "127.0.0.1", "localhost", "::1"]);
  const hosts = [...names].map((name) => formatHostPort(name, port));
  if (port === HTTP_PORT) hosts.push(...hosts.map((host) => host.replace(/:80$/, "")));
  return new Set(hosts);
}

/** Takes as long wherever the first difference is. */
function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}

function forbidden(message: string, options: { hint?: string } = {}): ControlFault {
  return new ControlFault("forbidden", message, options);
}
