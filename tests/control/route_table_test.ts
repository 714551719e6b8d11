/** Requests find their routes: by path with parameters, by method, by a query that is known. */
import { assertEquals, assertThrows } from "@std/assert";
import { ControlFault } from "../../lib/control/control_fault.ts";
import { parseHead } from "../../lib/control/http_head.ts";
import type { Route } from "../../lib/control/route.ts";
import { RouteTable } from "../../lib/control/route_table.ts";
import { ROUTES } from "../../lib/control/routes.ts";

const encoder = new TextEncoder();

const route = (method: Route["method"], path: string, more: Partial<Route> = {}): Route => ({
  method,
  path,
  id: `${method} ${path}`,
  summary: "",
  says: "Health",
  run: () => null,
  ...more,
});

const table = new RouteTable([
  route("GET", "/a", {
    query: ["one", "other"].map((name) => ({ name, description: "", schema: {} })),
  }),
  route("GET", "/a/{id}"),
  route("DELETE", "/a/{id}"),
  route("GET", "/a/all"),
  route("GET", "/a/{id}/b/{name}"),
  route("GET", "/stream", { says: { media: "a/b", description: "", isStream: true } }),
  route("GET", "/events", { says: "events" }),
]);

function found(method: string, target: string) {
  return table.find(parseHead(encoder.encode(`${method} ${target} HTTP/1.1\r\nHost: a`)));
}

function fault(method: string, target: string): [code: string, hint: string] {
  const { code, hint } = assertThrows(() => found(method, target), ControlFault) as ControlFault;
  return [code, hint];
}

Deno.test("a path's parameters are whole segments, decoded, and plain paths go before them", () => {
  const params = (target: string, method = "GET") => {
    const { route, params } = found(method, target);
    return [route.path, params];
  };
  assertEquals(params("/a"), ["/a", {}]);
  assertEquals(params("/a/all"), ["/a/all", {}]);
  assertEquals(params("/a/7"), ["/a/{id}", { id: "7" }]);
  assertEquals(params("/a/7", "DELETE"), ["/a/{id}", { id: "7" }]);
  assertEquals(params("/a/7", "HEAD"), ["/a/{id}", { id: "7" }]);
  assertEquals(params("/a/x%2Fy%20z/b/%C3%A4"), ["/a/{id}/b/{name}", { id: "x/y z", name: "ä" }]);
  assertEquals(params("/a/{id}"), ["/a/{id}", { id: "{id}" }], "what is written is what is meant");
  assertEquals(params("/a/__proto__")[1], { id: "__proto__" });
});

Deno.test("what is not there, not for a path, or cannot be read is said", () => {
  const lists = "GET /v1/openapi.json lists all of them";
  for (const target of ["/", "/a/", "/a/7/", "/a//b/c", "/a/7/b", "/a/7/c/d", "/b", "/A"]) {
    assertEquals(fault("GET", target), ["not-found", lists], target);
  }
  assertEquals(fault("POST", "/a/7"), ["method-not-allowed", "Use GET, DELETE"]);
  assertEquals(fault("DELETE", "/a/all"), ["method-not-allowed", "Use GET"]);
  assertEquals(fault("HEAD", "/stream"), ["method-not-allowed", "Use GET"]);
  assertEquals(fault("HEAD", "/events"), ["method-not-allowed", "Use GET"]);
  for (const bad of ["%", "%zz", "%ff", "%C3"]) {
    assertEquals(fault("GET", `/a/${bad}`), [
      "bad-request",
      "A percent sign itself is written %25",
    ]);
  }
});

Deno.test("a query has known parameters, each once; where a route has none it is not looked at", () => {
  assertEquals(found("GET", "/a?one=1&other=a%20b+c").query, { one: "1", other: "a b c" });
  assertEquals(found("GET", "/a?").query, {});
  assertEquals(found("GET", "/a/7?whatever=1").query, {});
  assertEquals(fault("GET", "/a?two=1"), ["bad-request", "GET /a takes one, other"]);
  assertEquals(fault("GET", "/a?othr=1"), [
    "bad-request",
    `GET /a takes one, other; did you mean "other"?`,
  ]);
  assertEquals(fault("GET", "/a?__proto__=1")[0], "bad-request");
  assertEquals(fault("GET", "/a?one=1&one=1"), ["bad-request", "Send it once"]);
});

Deno.test("every parameter of a path in the table is described, and each id is there once", () => {
  for (const { path, params = [] } of ROUTES) {
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!);
    assertEquals(params.map(({ name }) => name), named, path);
  }
  const ids = ROUTES.map(({ id }) => id);
  assertEquals(ids.length, new Set(ids).size);
});
