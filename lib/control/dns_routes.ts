/**
 * How names are answered: what became of the guest's questions, the gateway's own names, and the
 * end of all answers that are kept.
 *
 * @module
 */
import type { DnsReport, FlushReport } from "./api.ts";
import type { Route } from "./route.ts";

/** The routes. */
export const DNS_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/dns",
    id: "getDns",
    summary: "What became of the attached guest's questions, those answered from kept answers " +
      "among them, and the names that the gateway answers itself",
    says: "Dns",
    run: ({ gateway }): DnsReport => ({
      counts: gateway.guest?.dnsCounts() ?? null,
      inFlight: gateway.guest?.figures().dnsInFlight ?? 0,
      names: gateway.ownNames(),
    }),
  },
  {
    method: "POST",
    path: "/v1/dns/flush",
    id: "flushDns",
    summary: "Forgets the answers that are kept for the attached guest",
    says: "Flush",
    run: ({ gateway: { guest } }): FlushReport => {
      guest?.flushDns();
      return { hasGuest: guest !== null };
    },
  },
];
