/**
 * The OpenAPI 3.1 document of the control interface, made from the table of routes.
 *
 * @module
 */
import { ControlFault, type ControlFaultCode, FAULT_STATUS } from "./control_fault.ts";
import type { Route, RouteParameter } from "./route.ts";
import { reference, type Schema, SCHEMAS } from "./schemas.ts";

/**
 * Makes the document.
 *
 * @param routes The table.
 * @param options The module's version, and whether a token is asked for.
 * @returns The document, to be written as JSON.
 */
export function openApiDocument(
  routes: readonly Route[],
  options: { readonly version: string; readonly asksToken: boolean },
): Schema {
  const paths: Record<string, Record<string, Schema>> = {};
  for (const route of routes) {
    (paths[route.path] ??= {})[route.method.toLowerCase()] = operation(route, options.asksToken);
  }
  const securitySchemes = { token: { type: "http", scheme: "bearer" } };
  return {
    openapi: "3.1.0",
    info: {
      title: "virtio-gateway control interface",
      version: options.version,
      description: "One request on each connection. Every fault is an Error, with its way out. " +
        "What is about a guest stands below /v1/guests/{guest}/ too, as in " +
        "/v1/guests/{guest}/flows, and has to be asked for there where several are served.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    ...(options.asksToken ? { security: [{ token: [] }] } : {}),
    paths,
    components: { schemas: SCHEMAS, ...(options.asksToken ? { securitySchemes } : {}) },
  };
}

function operation(route: Route, asksToken: boolean): Schema {
  const needsToken = asksToken && route.isOpen !== true;
  const isNamed = route.path.includes("{guest}");
  const faults = new Set([
    400,
    ...(needsToken ? [401] : []),
    403,
    ...(isNamed ? [404] : []),
    408,
    ...(route.takes === undefined ? [] : [411, 413, 415]),
    ...(route.isOfGuest === true ? [503] : []),
    ...(route.isOfGuest === true && !isNamed ? [409] : []),
    ...route.faults ?? [],
  ]);
  return {
    operationId: route.id,
    summary: route.summary,
    ...(asksToken && route.isOpen === true ? { security: [] } : {}),
    ...parametersOf(route),
    ...(route.takes === undefined ? {} : {
      requestBody: { required: true, content: json(reference(route.takes)) },
    }),
    responses: {
      200: { description: "Done.", content: contentOf(route) },
      ...Object.fromEntries(
        [...faults].toSorted().map((status) => [status, faultResponse(route, status)]),
      ),
    },
  };
}

function parametersOf({ params = [], query = [], says }: Route): Schema {
  const parameters = [
    ...params.map((parameter) => ({ ...placed(parameter, "path"), required: true })),
    ...query.map((parameter) => placed(parameter, "query")),
    ...(says === "events" ? [LAST_EVENT_ID] : []),
  ];
  return parameters.length === 0 ? {} : { parameters };
}

function placed({ name, description, schema }: RouteParameter, place: string): Schema {
  return { name, in: place, required: false, description, schema };
}

const LAST_EVENT_ID: Schema = {
  name: "Last-Event-ID",
  in: "header",
  required: false,
  description: "The id of the event that was seen last.",
  schema: { type: "string" },
};

function contentOf({ says }: Route): Schema {
  if (typeof says === "object") {
    const { media, description } = says;
    return { [media]: { schema: { type: "string", description } } };
  }
  if (says === "openapi") return json({ type: "object" });
  if (says !== "events") return json(reference(says));
  return {
    "text/event-stream": {
      schema: {
        type: "string",
        description: "id, event (the type) and data: an Event as JSON in one line.",
      },
    },
  };
}

function faultResponse({ isGvproxy }: Route, status: number): Schema {
  const codes = (Object.keys(FAULT_STATUS) as ControlFaultCode[]).filter((code) => {
    return new ControlFault(code, "").status === status;
  });
  const content = {
    ...json(reference("Error")),
    ...(isGvproxy === true ? { "text/plain": { schema: { type: "string" } } } : {}),
  };
  return { description: `${codes.join(" or ")}.`, content };
}

function json(schema: Schema): Schema {
  return { "application/json": { schema } };
}
