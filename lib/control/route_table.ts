/**
 * Finds what a request asks for in the table of routes: by its path, whose parameters are taken out
 * of it, by its method, and by its query, which has none but known parameters.
 *
 * @module
 */
import { didYouMean } from "../config/nearest.ts";
import { ControlFault } from "./control_fault.ts";
import type { RequestHead } from "./http_head.ts";
import type { Route, RouteRequest } from "./route.ts";

/** A route, and what the request says to it in its target. */
export interface FoundRoute extends Pick<RouteRequest, "params" | "query"> {
  readonly route: Route;
}

/** The routes of one path that has parameters. */
interface Pattern {
  readonly segments: readonly string[];
  readonly routes: readonly Route[];
}

/** A table to look requests up in. */
export class RouteTable {
  readonly #plain: ReadonlyMap<string, readonly Route[]>;
  readonly #patterns: readonly Pattern[];

  /** Sorts a table. */
  constructor(routes: readonly Route[]) {
    const byPath = Map.groupBy(routes, ({ path }) => path);
    this.#plain = byPath;
    this.#patterns = [...byPath].filter(([path]) => path.includes("{"))
      .map(([path, routes]) => ({ segments: path.split("/"), routes }));
  }

  /**
   * Finds a route.
   *
   * @throws {ControlFault} Where there is none, or the query is none of it.
   */
  find({ method, path, query }: RequestHead): FoundRoute {
    const [routes, written] = this.#routesAt(path);
    const wanted = method === "HEAD" ? "GET" : method;
    const route = routes.find((each) => each.method === wanted);
    if (route === undefined || (method === "HEAD" && isStream(route))) {
      const allow = routes.map((each) => each.method).join(", ");
      throw new ControlFault("method-not-allowed", `${method} is not for this path`, {
        hint: `Use ${allow}`,
        headers: { Allow: allow },
      });
    }
    return { route, params: decoded(written), query: readQuery(route, query) };
  }

  /** The path of the table that a request's path is one of; `null` for none. */
  pathOf(path: string): string | null {
    try {
      return this.#routesAt(path)[0][0]?.path ?? null;
    } catch {
      return null;
    }
  }

  /** The routes of a path, and its parameters as they are written. */
  #routesAt(path: string): [routes: readonly Route[], written: Record<string, string>] {
    const plain = path.includes("{") ? undefined : this.#plain.get(path);
    if (plain !== undefined) return [plain, {}];
    const segments = path.split("/");
    for (const pattern of this.#patterns) {
      const written = matched(pattern.segments, segments);
      if (written !== null) return [pattern.routes, written];
    }
    throw new ControlFault("not-found", "there is no such path", {
      hint: "GET /v1/openapi.json lists all of them",
    });
  }
}

function isStream({ says }: Route): boolean {
  return says === "events" || (typeof says === "object" && says.isStream === true);
}

function matched(
  pattern: readonly string[],
  segments: readonly string[],
): Record<string, string> | null {
  if (pattern.length !== segments.length) return null;
  const written: Record<string, string> = {};
  for (const [i, segment] of segments.entries()) {
    const name = /^\{(.+)\}$/.exec(pattern[i]!)?.[1];
    if (name === undefined ? segment !== pattern[i] : segment === "") return null;
    if (name !== undefined) written[name] = segment;
  }
  return written;
}

function decoded(written: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(written).map(([name, text]) => {
      try {
        return [name, decodeURIComponent(text)];
      } catch {
        throw new ControlFault("bad-request", `${name} in the path is not percent-encoded UTF-8`, {
          hint: "A percent sign itself is written %25",
        });
      }
    }),
  );
}

function readQuery(route: Route, query: URLSearchParams): Record<string, string> {
  if (route.query === undefined) return {};
  const known = route.query.map(({ name }) => name);
  const given: Record<string, string> = {};
  for (const [name, value] of query) {
    if (!known.includes(name)) {
      throw new ControlFault("bad-request", "the query has an unknown parameter", {
        hint: `${route.method} ${route.path} takes ${known.join(", ")}${didYouMean(name, known)}`,
      });
    }
    if (Object.hasOwn(given, name)) {
      throw new ControlFault("bad-request", `the query has ${name} twice`, {
        hint: "Send it once",
      });
    }
    given[name] = value;
  }
  return given;
}
