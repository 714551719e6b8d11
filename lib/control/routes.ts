/**
 * The table of all that the control interface does: method, path, what it takes and says, and the
 * function behind it. The server's answers and the OpenAPI document both come from here.
 *
 * @module
 */
import type { PolicyConfig } from "../config/options.ts";
import { formatEndpoint } from "../config/endpoint.ts";
import type { DenialReport, GatewayStatus, LiveExplanation, PinReport } from "./api.ts";
import { CAPTURE_ROUTES } from "./capture_route.ts";
import { ControlFault } from "./control_fault.ts";
import { DASHBOARD_ROUTES } from "./dashboard_routes.ts";
import { DNS_ROUTES } from "./dns_routes.ts";
import { EVENT_ROUTES } from "./event_routes.ts";
import { FLEET_ROUTE } from "./fleet_route.ts";
import { FLOW_ROUTES } from "./flow_routes.ts";
import { GUEST_ROUTES, guestForm } from "./guest_routes.ts";
import { GVPROXY_ROUTES } from "./gvproxy_routes.ts";
import { LIFE_ROUTES } from "./life_routes.ts";
import { METRICS_ROUTE } from "./metrics.ts";
import { PORT_ROUTES } from "./port_routes.ts";
import type { GuestContext, Route, RouteRequest } from "./route.ts";

/** All routes, each once: those of a guest without its name. */
export const ROUTES: readonly Route[] = [
  ...GUEST_ROUTES,
  {
    method: "GET",
    path: "/v1/status",
    id: "getStatus",
    isOfGuest: true,
    summary: "The gateway at a glance: endpoint, guest, figures, counters, published ports, policy",
    says: "Status",
    run: status,
  },
  {
    method: "GET",
    path: "/v1/denials",
    id: "getDenials",
    isOfGuest: true,
    summary: "What the guest was refused, alike refusals together, and how often by each rule",
    says: "Denials",
    run: async ({ gateway }): Promise<DenialReport> => ({
      groups: await gateway.denials(),
      byRule: Object.fromEntries(await gateway.denialsByRule()),
    }),
  },
  {
    method: "GET",
    path: "/v1/policy",
    id: "getPolicy",
    isOfGuest: true,
    summary: "The policy in force, whole, its rules in canonical form",
    says: "Policy",
    run: async ({ gateway }) => (await gateway.snapshot()).policy,
  },
  {
    method: "PUT",
    path: "/v1/policy",
    id: "setPolicy",
    isOfGuest: true,
    summary: "Puts a whole policy into force, or says what is wrong with it and changes nothing; " +
      "flows that it does not allow end at once",
    takes: "PolicyChange",
    says: "Policy",
    faults: [422],
    run: setPolicy,
  },
  {
    method: "POST",
    path: "/v1/explain",
    id: "explain",
    isOfGuest: true,
    summary: "Would the guest reach a target, by which rule, and what would change that",
    takes: "Question",
    says: "Explanation",
    faults: [422],
    run: explain,
  },
  {
    method: "GET",
    path: "/v1/pins",
    id: "getPins",
    isOfGuest: true,
    summary: "Which names lead to which addresses for the guest that is attached, and until when",
    says: "Pins",
    run: async ({ gateway }): Promise<PinReport> => ({ pins: await gateway.pins() }),
  },
  ...FLOW_ROUTES,
  ...PORT_ROUTES,
  ...DNS_ROUTES,
  ...EVENT_ROUTES,
  ...CAPTURE_ROUTES,
  ...LIFE_ROUTES,
  FLEET_ROUTE,
  METRICS_ROUTE,
  {
    method: "GET",
    path: "/v1/openapi.json",
    id: "getOpenApi",
    summary: "This document",
    says: "openapi",
    run: (context) => context.openApi(),
  },
  {
    method: "GET",
    path: "/healthz",
    id: "getHealth",
    summary: "Whether the gateway lives",
    isOpen: true,
    says: "Health",
    run: () => ({ status: "ok" }),
  },
  {
    method: "GET",
    path: "/readyz",
    id: "getReadiness",
    summary: "Whether the gateway takes guests; not where it is stopping",
    isOpen: true,
    says: "Health",
    faults: [503],
    run: (context) => {
      if (context.isReady()) return { status: "ok" };
      throw new ControlFault("not-ready", "the gateway is stopping", {
        hint: "It takes no guest any more; start it again once it has ended",
      });
    },
  },
  ...GVPROXY_ROUTES,
  ...DASHBOARD_ROUTES,
];

/** The same, and those of a guest below its name. */
export const SERVED_ROUTES: readonly Route[] = [
  ...ROUTES,
  ...ROUTES.map(guestForm).filter((route) => route !== null),
];

/**
 * The routes as they are for one guest without its name, or for several: each once, in the form that
 * is of use.
 */
export function documentRoutes(areSeveral: boolean): readonly Route[] {
  if (!areSeveral) return ROUTES;
  return ROUTES.filter(({ isGvproxy }) => isGvproxy !== true)
    .map((route) => guestForm(route) ?? route);
}

async function status(
  { gateway, feed, version, startedMs, fleet }: GuestContext,
): Promise<GatewayStatus> {
  const { endpoint, published, policy: { protect, allow, deny }, guest } = await gateway.snapshot();
  return {
    version,
    startedMs,
    endpoint: formatEndpoint(endpoint),
    published,
    policy: {
      protect,
      default: allow.length > 0 ? "deny" : "allow",
      allowRules: allow.length,
      denyRules: deny.length,
    },
    guest: guest === null
      ? null
      : { link: guest.link, figures: guest.figures, counters: guest.counters, dns: guest.dns },
    readers: feed.readers,
    ...(fleet === null ? {} : { fleet: fleet() }),
  };
}

async function setPolicy({ gateway }: GuestContext, { body }: RouteRequest): Promise<unknown> {
  // Its shape is checked by the gateway, which names each wrong word.
  const policy = body as PolicyConfig;
  const isObject = typeof body === "object" && body !== null && !Array.isArray(body);
  const isPlaced = !isObject || policy.origins !== undefined;
  await gateway.setPolicy(isPlaced ? policy : { ...policy, origins: originsOf(policy) });
  return (await gateway.snapshot()).policy;
}

/** Where the rules stand that came without a place: in the request. */
function originsOf({ allow, deny }: PolicyConfig): { allow: string[]; deny: string[] } {
  const places = (name: string, rules: unknown) =>
    Array.isArray(rules) ? rules.map((_, i) => `control:${name}[${i}]`) : [];
  return { allow: places("allow", allow), deny: places("deny", deny) };
}

async function explain(
  { gateway }: GuestContext,
  { body }: RouteRequest,
): Promise<LiveExplanation> {
  const isQuestion = typeof body === "object" && body !== null &&
    Object.keys(body).join() === "target" &&
    typeof (body as { target: unknown }).target === "string";
  if (!isQuestion) {
    throw new ControlFault("invalid", "the body is no question", {
      hint: `Send {"target": "pypi.org:443"}`,
    });
  }
  const { target } = body as { target: string };
  const explanation = await gateway.explain(target);
  return { ...explanation, hasGuest: (await gateway.snapshot()).guest !== null };
}
