/**
 * The page of the control interface: its routes, faults and events, and what a refusal says.
 *
 * @module
 */
import { FAULT_STATUS } from "../../lib/control/control_fault.ts";
import type { Route, RouteParameter } from "../../lib/control/route.ts";
import { guestForm } from "../../lib/control/guest_routes.ts";
import { ROUTES } from "../../lib/control/routes.ts";
import { type Schema, SCHEMAS } from "../../lib/control/schemas.ts";
import { DENIAL_REASONS } from "../../lib/policy/denial.ts";
import { code, page, plain, sentence, table } from "./markdown.ts";

/** The page. */
export function controlPage(): string {
  const gvproxy = ROUTES.filter(({ path }) => isGvproxy(path));
  return page(
    "Control interface, events, refusals, log",
    "HTTP and JSON on the socket of `--control`. [docs/control.md](../control.md) has a curl line " +
      "for each; `GET /v1/openapi.json` describes what each path takes and says, for programs. One " +
      "request on each connection. Over TCP each request needs `Authorization: Bearer` and the " +
      "token, but for those that say otherwise.",
    "## Paths",
    ...ROUTES.filter((route) => !gvproxy.includes(route)).map(routeText),
    "## Paths of gvproxy",
    "They answer in gvproxy's format: [docs/control.md](../control.md#with-what-was-made-for-gvproxy).",
    ...gvproxy.map(routeText),
    "## Faults",
    "The body says what is wrong and the way out: " +
      '`{"error": {"code": …, "message": …, "hint": …}}`. A path of gvproxy says it as plain text.',
    table(
      ["code", "status"],
      Object.entries(FAULT_STATUS).map(([name, status]) => [code(name), String(status)]),
    ),
    "## Events",
    "What `GET /v1/events`, `denials --follow` and `events()` of a program have. Each is JSON with a " +
      "`type`; `timeMs` is milliseconds since 1970.",
    ...events().map(({ type, description, fields }) =>
      [
        `### ${code(type)}`,
        description,
        table(["field", "what"], fields.map(([name, what]) => [code(name), what])),
      ].join("\n\n")
    ),
    "## Why something is refused",
    "The `reason` of a refusal, in `denials --json`, in events and in the comments of a capture.",
    table(
      ["reason", "what it means"],
      Object.entries(DENIAL_REASONS).map(([name, help]) => [code(name), plain(sentence(help))]),
    ),
    "The `rule` beside it is the rule as it is written, `default-deny` where there are allow rules " +
      "and none of them fits, or `protect LEVEL`. `origin` is the line of the file, or the flag, that " +
      "it comes from.",
    "## Log lines",
    "With `--log-format json` a line is one object. Each has `time` (UTC), `level` (`debug`, `info`, " +
      "`warn` or `error`) and `message`; some have more:",
    table(["field", "what"], LOG_FIELDS.map(([name, what]) => [code(name), what])),
  );
}

/** Fields that log lines carry beside the three that all have. */
export const LOG_FIELDS: readonly (readonly [name: string, what: string])[] = [
  ["endpoint", "where the VMM is met"],
  ["join", "what each VMM that can join takes, by its name, in the line that begins `ready`"],
  ["fault", "what the system or the framing said where a guest's link has failed"],
  ["reason", "why the guest left, or why something could not be done"],
  ["flows", "flows that were open when the guest left, or that are kept for it"],
  ["awayMs", "how long a guest was without a link"],
  ["timers", "timers that were left then"],
  ["rule", "the rule that has refused something"],
  ["origin", "where that rule stands"],
  ["allow", "the line that would allow it"],
  ["rules", "how many rules a reloaded policy has"],
  ["unsaid", "how many lines like this one were left out since the last"],
  ["error", "what the system or Deno said"],
  ["hint", "the way out"],
  ["path", "the file that is meant"],
  ["mtu", "the MTU that is too small for IPv6"],
  ["earlier", "where the capture before this one is"],
  ["limitBytes", "how much the capture's files take together"],
];

/** What happens, as the events' schemas have it. */
export function events(): { type: string; description: string; fields: [string, string][] }[] {
  return SCHEMAS.Event.oneOf.map((schema: Schema) => {
    const properties = schema.properties as Record<string, Schema>;
    const { type, ...others } = properties;
    return {
      type: String(type!.const),
      description: String(schema.description ?? ""),
      fields: Object.entries(others).map(([name, each]) => [name, plain(meaningOf(each))]),
    };
  });
}

function meaningOf(schema: Schema): string {
  const words = schema.enum as string[] | undefined;
  if (schema.description !== undefined) return String(schema.description);
  return words === undefined ? "" : `${words.join(", ")}.`;
}

function isGvproxy(path: string): boolean {
  return path.startsWith("/services/") || path === "/stats";
}

function routeText(route: Route): string {
  const { method, path, summary, isOpen, params = [], query = [], takes, says, faults = [] } =
    route;
  const named = guestForm(route)?.path;
  const parameters = [
    ...params.map((each) => parameterText(each, "in the path")),
    ...query.map((each) => parameterText(each, "in the query")),
  ];
  const facts = [
    ...(takes === undefined ? [] : [`Takes ${code(takes)}.`]),
    `Says ${saysText(says)}.`,
    ...(named === undefined ? [] : [`Where several guests are served: ${code(named)}.`]),
    ...(faults.length === 0 ? [] : [`Faults of its own: ${faults.join(", ")}.`]),
    ...(isOpen === true ? ["Needs no token."] : []),
  ];
  return [
    `### ${code(`${method} ${path}`)}`,
    plain(sentence(summary)),
    ...(parameters.length === 0 ? [] : [parameters.join("\n")]),
    facts.join(" "),
  ].join("\n\n");
}

function parameterText({ name, description }: RouteParameter, place: string): string {
  return `- ${code(name)} ${place}: ${
    plain(description.replace(/^./, (first) => first.toLowerCase()))
  }`;
}

function saysText(says: Route["says"]): string {
  if (says === "openapi") return "an OpenAPI 3.1 document";
  if (says === "events") return "server-sent events, each with an [event](#events) as its data";
  return typeof says === "string" ? code(says) : code(says.media);
}
