/**
 * Flows of the attached guest: which there are, by protocol, peer and name, and the end of one.
 *
 * @module
 */
import { formatHostPort, parseHostPort } from "../config/endpoint.ts";
import { normalizeName } from "../dns/name.ts";
import type { FlowInfo } from "../host/flow_info.ts";
import { formatIp, parseIp } from "../wire/address.ts";
import type { FlowReport } from "./api.ts";
import { ControlFault } from "./control_fault.ts";
import type { GuestContext, Route, RouteRequest } from "./route.ts";

/** How many flows are said where no limit is, and at most. */
const FLOWS_DEFAULT = 1_000;
const FLOWS_MAX = 65_536;

/** Whether a flow is meant. */
type Test = (flow: FlowInfo) => boolean;

/** The routes. */
export const FLOW_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/flows",
    id: "getFlows",
    isOfGuest: true,
    summary: "The attached guest's flows at this moment, the latest first",
    query: [
      {
        name: "protocol",
        description: "How.",
        schema: { enum: ["tcp", "udp"] },
      },
      {
        name: "peer",
        description: "The address at the other end, alone or with its port, as in " +
          "192.0.2.7, 192.0.2.7:443, [2001:db8::1]:443.",
        schema: { type: "string" },
      },
      {
        name: "name",
        description: "The name that led there, or one above it.",
        schema: { type: "string" },
      },
      {
        name: "limit",
        description: "How many at most.",
        schema: { type: "integer", minimum: 0, maximum: FLOWS_MAX, default: FLOWS_DEFAULT },
      },
    ],
    says: "Flows",
    faults: [422],
    run: flows,
  },
  {
    method: "DELETE",
    path: "/v1/flows/{id}",
    id: "endFlow",
    isOfGuest: true,
    summary: "Ends a flow at once, a TCP flow with a reset; says what it was",
    params: [
      { name: "id", description: "Its number.", schema: { type: "integer", minimum: 1 } },
    ],
    says: "Flow",
    faults: [404, 422],
    run: endFlow,
  },
];

async function flows(
  { gateway }: GuestContext,
  { query }: RouteRequest,
): Promise<FlowReport> {
  const limit = query.limit === undefined ? FLOWS_DEFAULT : readLimit(query.limit);
  const tests: Test[] = [];
  if (query.protocol !== undefined) tests.push(protocolTest(query.protocol));
  if (query.peer !== undefined) tests.push(peerTest(query.peer));
  if (query.name !== undefined) tests.push(nameTest(query.name));
  const meant = (await gateway.flows()).filter((flow) => tests.every((test) => test(flow)));
  return { flows: meant.slice(0, limit), total: meant.length };
}

async function endFlow(
  { gateway }: GuestContext,
  { params }: RouteRequest,
): Promise<FlowInfo> {
  const text = params.id!;
  if (!/^[1-9][0-9]{0,14}$/.test(text)) {
    throw invalid("the flow's id is not a number", "GET /v1/flows lists them");
  }
  const id = Number(text);
  const flow = (await gateway.flows()).find((each) => each.id === id);
  if (flow !== undefined && await gateway.endFlow(id)) return flow;
  const { guest } = await gateway.snapshot();
  throw new ControlFault("absent", `there is no flow ${id}`, {
    hint: guest === null ? "No guest is attached" : "It may have ended by itself",
  });
}

function readLimit(text: string): number {
  const limit = /^[0-9]{1,6}$/.test(text) ? Number(text) : Infinity;
  if (limit <= FLOWS_MAX) return limit;
  throw invalid(
    `limit is not a whole number from 0 to ${FLOWS_MAX}`,
    `Leave it out for ${FLOWS_DEFAULT}`,
  );
}

function protocolTest(text: string): Test {
  if (text !== "tcp" && text !== "udp") {
    throw invalid("protocol is neither tcp nor udp", "Leave it out for both");
  }
  return ({ protocol }) => protocol === text;
}

function peerTest(text: string): Test {
  const place = parseHostPort(text);
  if (place !== null) {
    const wanted = formatHostPort(place.hostname, place.port);
    return ({ peer }) => peer === wanted;
  }
  const address = parseIp(/^\[(.*)\]$/.exec(text)?.[1] ?? text);
  if (address === null) {
    throw invalid("peer is no address", "Write 192.0.2.7, 192.0.2.7:443 or [2001:db8::1]:443");
  }
  const literal = formatIp(address);
  const start = address.length === 16 ? `[${literal}]:` : `${literal}:`;
  return ({ peer }) => peer.startsWith(start);
}

function nameTest(text: string): Test {
  const wanted = normalizeName(text);
  if (wanted === null || wanted === "") {
    throw invalid("name is no host name", "Write one such as pypi.org");
  }
  return ({ name }) => name === wanted || name?.endsWith(`.${wanted}`) === true;
}

function invalid(message: string, hint: string): ControlFault {
  return new ControlFault("invalid", message, { hint });
}
