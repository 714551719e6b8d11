/**
 * What policies say, as tables: rules, what names lead to, and for each flow, first bytes, lookup
 * and address of an answer what becomes of it. How they are written is told in `policy_world.ts`.
 *
 * @module
 */
import type { PolicyWorldOptions } from "./policy_world.ts";

/** Questions to one policy, each with its answer. */
export interface PolicyCases extends PolicyWorldOptions {
  /** What the table shows. */
  readonly title: string;
  /** Rules between semicolons. */
  readonly rules: string;
  readonly flows?: Readonly<Record<string, string>>;
  readonly shown?: Readonly<Record<string, string>>;
  readonly lookups?: Readonly<Record<string, string>>;
  /** Addresses in answers that are kept, and that are taken out. */
  readonly keeps?: readonly string[];
  readonly strips?: readonly string[];
}

/** The tables. */
export const POLICY_CASES: readonly PolicyCases[] = [
  {
    title: "without rules everything is free but what is protected",
    rules: "",
    pins: "pypi.org=8.8.8.8",
    flows: {
      "tcp 8.8.8.8:443": "freely for pypi.org",
      "udp 8.8.8.8:443": "freely for pypi.org",
      "icmp 8.8.8.8": "freely for pypi.org",
      "tcp 10.1.2.3:22": "freely",
      "tcp 192.168.1.1:80 at host": "freely",
      "tcp 169.254.169.254:80": "deny protect protect metadata",
      "tcp [fe80::1]:80": "deny protect protect metadata",
      "tcp 127.0.0.1:80": "deny protect protect metadata",
      "udp 224.0.0.1:80": "deny protect protect metadata",
    },
    lookups: { "pypi.org": "yes", "": "yes", "localhost": "yes" },
    keeps: ["8.8.8.8", "10.0.0.1", "fd00::1", "own 10.0.0.1"],
    strips: ["127.0.0.1", "::1", "0.0.0.0", "169.254.169.254", "fe80::1", "64:ff9b::a9fe:a9fe"],
  },
  {
    title: "addresses where nobody can be stay in answers: refused at the dial they say more",
    rules: "allow x.example; deny 240.0.0.0/8",
    flows: { "tcp 192.0.2.1:443": "deny protect protect metadata" },
    keeps: ["192.0.2.1", "255.255.255.255", "224.0.0.1", "2001:db8::1", "::ffff:8.8.8.8"],
    strips: ["240.0.0.1", "127.0.0.1"],
  },
  {
    title: "protect off opens link-local and metadata, and no loopback",
    protect: "off",
    rules: "",
    flows: {
      "tcp 169.254.169.254:80": "freely",
      "tcp 169.254.1.1:80": "freely",
      "tcp 127.0.0.1:80": "deny protect protect off",
      "tcp 0.0.0.0:80": "deny protect protect off",
      "tcp 240.0.0.1:80": "deny protect protect off",
    },
    keeps: ["169.254.169.254", "10.0.0.1"],
    strips: ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"],
  },
  {
    title: "protect strict closes private addresses and the host's own",
    protect: "strict",
    rules: "",
    flows: {
      "tcp 8.8.8.8:443": "freely",
      "tcp 8.8.8.8:443 at host": "deny protect protect strict",
      "tcp 10.1.2.3:22": "deny protect protect strict",
      "tcp 100.64.0.1:22": "deny protect protect strict",
      "udp [fd00::1]:53": "deny protect protect strict",
      "tcp 169.254.169.254:80": "deny protect protect strict",
    },
    keeps: ["8.8.8.8"],
    strips: ["10.0.0.1", "fd00::1", "own 10.0.0.1"],
  },
  {
    title: "protection is above the rules",
    rules:
      "allow metadata; allow loopback; allow 169.254.0.0/16; allow 127.0.0.0/8; allow x.example",
    pins: "x.example=169.254.169.254 x.example=127.0.0.1",
    flows: {
      "tcp 169.254.169.254:80": "deny protect protect metadata",
      "tcp 127.0.0.1:80": "deny protect protect metadata",
    },
    strips: ["169.254.169.254", "127.0.0.1", "own 127.0.0.1", "own 169.254.169.254"],
  },
  {
    title: "what protection is lifted from still needs a rule where there are rules",
    protect: "off",
    rules: "allow metadata:80",
    flows: {
      "tcp 169.254.169.254:80": "allow metadata:80",
      "tcp 169.254.169.254:443": "deny default-deny",
      "tcp 169.254.1.1:80": "deny default-deny",
      "tcp 8.8.8.8:80": "deny default-deny",
    },
    keeps: ["169.254.169.254", "8.8.8.8"],
    strips: ["169.254.1.1", "10.0.0.1"],
  },
  {
    title: "deny rules alone leave the rest open",
    rules: "deny 10.0.0.0/8; deny public:25; deny evil.com; deny half.com:443",
    pins: "evil.com=8.8.4.4 half.com=9.9.9.9",
    flows: {
      "tcp 10.1.2.3:22": "deny rule 10.0.0.0/8",
      "tcp 8.8.8.8:25": "deny rule public:25",
      "udp 8.8.8.8:25": "deny rule public:25",
      "icmp 8.8.8.8": "freely",
      "tcp 8.8.8.8:443": "freely",
      "tcp 8.8.4.4:22": "deny rule evil.com",
      "udp 8.8.4.4:443": "deny rule evil.com",
      "icmp 8.8.4.4": "deny rule evil.com",
      "tcp 9.9.9.9:443": "deny rule half.com:443",
      "udp 9.9.9.9:443": "deny rule half.com:443",
      "tcp 9.9.9.9:80": "freely for half.com",
    },
    lookups: {
      "evil.com": "deny rule evil.com",
      "own evil.com": "deny rule evil.com",
      "www.evil.com": "yes",
      "half.com": "yes",
      "pypi.org": "yes",
    },
    keeps: ["8.8.8.8", "192.168.0.1"],
    strips: ["10.0.0.1", "64:ff9b::10.0.0.1"],
  },
  {
    title: "any allow makes the default a no",
    rules: "allow 10.0.0.0/8:5432/tcp",
    flows: {
      "tcp 10.1.2.3:5432": "allow 10.0.0.0/8:5432/tcp",
      "udp 10.1.2.3:5432": "deny default-deny",
      "tcp 10.1.2.3:22": "deny default-deny",
      "tcp 8.8.8.8:5432": "deny default-deny",
      "icmp 10.1.2.3": "deny default-deny",
    },
    lookups: {
      "pypi.org": "deny default-deny",
      "own db.internal": "yes",
    },
    keeps: ["10.0.0.5", "8.8.8.8", "own 192.168.0.1"],
    strips: ["192.168.0.1", "fd00::1"],
  },
  {
    title: "a deny wins, in whatever order and however narrow the allow",
    rules: "allow 10.1.2.3:22/tcp; deny private; allow pypi.org:22; deny *.pypi.org:22",
    pins: "pypi.org=8.8.8.8",
    flows: {
      "tcp 10.1.2.3:22": "deny rule private",
      "tcp 8.8.8.8:22": "deny rule *.pypi.org:22",
      "tcp 8.8.8.8:443": "deny default-deny",
    },
    lookups: { "pypi.org": "yes" },
    strips: ["10.1.2.3"],
  },
  {
    title: "a bare name: TLS on 443 and HTTP on 80, shown in the first bytes",
    rules: "allow pypi.org",
    pins: "pypi.org=8.8.8.8 pypi.org=2606:4700::1111",
    flows: {
      "tcp 8.8.8.8:443": "inspect",
      "tcp 8.8.8.8:80": "inspect",
      "tcp [2606:4700::1111]:443": "inspect",
      "tcp 8.8.8.8:22": "deny default-deny",
      "udp 8.8.8.8:443": "deny quic default-deny",
      "udp 8.8.8.8:53": "deny default-deny",
      "icmp 8.8.8.8": "deny default-deny",
      "tcp 8.8.4.4:443": "deny default-deny",
    },
    shown: {
      "tls 8.8.8.8:443 pypi.org": "allow pypi.org by tls for pypi.org",
      "http 8.8.8.8:80 pypi.org": "allow pypi.org by http for pypi.org",
      "http 8.8.8.8:443 pypi.org": "deny wrong-name default-deny",
      "tls 8.8.8.8:80 pypi.org": "deny wrong-name default-deny",
      "tls 8.8.8.8:443 evil.com": "deny wrong-name default-deny",
      "tls 8.8.8.8:443 www.pypi.org": "deny wrong-name default-deny",
      "tls 8.8.8.8:443": "deny no-name default-deny",
      "http 8.8.8.8:80": "deny no-name default-deny",
      "other 8.8.8.8:443": "deny no-name default-deny",
    },
    lookups: {
      "pypi.org": "yes",
      "www.pypi.org": "deny default-deny",
      "badpypi.org": "deny default-deny",
      "pypi.org.evil.com": "deny default-deny",
      "org": "deny default-deny",
      "": "deny default-deny",
    },
    strips: ["10.0.0.1", "127.0.0.1"],
    keeps: ["8.8.8.8", "own 10.0.0.1"],
  },
  {
    title: "a wildcard has the apex and all below it, each name on its own addresses",
    rules: "allow *.pypi.org",
    pins: "pypi.org=8.8.8.8 files.pypi.org=8.8.4.4",
    flows: { "tcp 8.8.8.8:443": "inspect", "tcp 8.8.4.4:443": "inspect" },
    shown: {
      "tls 8.8.8.8:443 pypi.org": "allow *.pypi.org by tls for pypi.org",
      "tls 8.8.4.4:443 files.pypi.org": "allow *.pypi.org by tls for files.pypi.org",
      "tls 8.8.8.8:443 files.pypi.org": "deny wrong-name default-deny",
      "tls 8.8.4.4:443 pypi.org": "deny wrong-name default-deny",
      "tls 8.8.4.4:443 new.pypi.org": "deny wrong-name default-deny",
    },
    lookups: { "pypi.org": "yes", "a.b.pypi.org": "yes", "xpypi.org": "deny default-deny" },
  },
  {
    title: "ports of a name pass by pin alone, but those of TLS and HTTP",
    rules: "allow git.example:22,80,443,8000-8010",
    pins: "git.example=8.8.8.8",
    flows: {
      "tcp 8.8.8.8:22": "allow git.example:22,80,443,8000-8010 for git.example",
      "tcp 8.8.8.8:8005": "allow git.example:22,80,443,8000-8010 for git.example",
      "udp 8.8.8.8:8005": "allow git.example:22,80,443,8000-8010 for git.example",
      "tcp 8.8.8.8:443": "inspect",
      "tcp 8.8.8.8:80": "inspect",
      "udp 8.8.8.8:443": "deny quic default-deny",
      "udp 8.8.8.8:80": "deny default-deny",
      "tcp 8.8.8.8:23": "deny default-deny",
      "tcp 8.8.4.4:22": "deny default-deny",
    },
  },
  {
    title: "the word tls or http asks for it on any port, udp and icmp pass by pin",
    rules: "allow a.example:8443/tls; allow a.example:80/tls; allow b.example:8080/http; " +
      "allow c.example:123/udp; allow c.example/icmp",
    pins: "a.example=8.8.8.8 b.example=8.8.4.4 c.example=9.9.9.9",
    flows: {
      "tcp 8.8.8.8:8443": "inspect",
      "tcp 8.8.8.8:80": "inspect",
      "tcp 8.8.8.8:443": "deny default-deny",
      "tcp 8.8.4.4:8080": "inspect",
      "udp 9.9.9.9:123": "allow c.example:123/udp for c.example",
      "tcp 9.9.9.9:123": "deny default-deny",
      "icmp 9.9.9.9": "allow c.example/icmp for c.example",
    },
    shown: {
      "tls 8.8.8.8:8443 a.example": "allow a.example:8443/tls by tls for a.example",
      "http 8.8.8.8:8443 a.example": "deny wrong-name default-deny",
      "tls 8.8.8.8:80 a.example": "allow a.example:80/tls by tls for a.example",
      "http 8.8.8.8:80 a.example": "deny wrong-name default-deny",
      "http 8.8.4.4:8080 b.example": "allow b.example:8080/http by http for b.example",
      "tls 8.8.4.4:8080 b.example": "deny wrong-name default-deny",
    },
  },
  {
    title: "names on one address: the least strict decides, a denied one closes it for all",
    rules: "allow a.example; allow b.example:443/tls; allow c.example:22; deny evil.com:8080",
    pins: "a.example=8.8.8.8 b.example=8.8.8.8 c.example=8.8.8.8 evil.com=8.8.8.8",
    flows: {
      "tcp 8.8.8.8:443": "inspect",
      "tcp 8.8.8.8:22": "allow c.example:22 for c.example",
      "tcp 8.8.8.8:8080": "deny rule evil.com:8080",
    },
    shown: {
      "tls 8.8.8.8:443 a.example": "allow a.example by tls for a.example",
      "tls 8.8.8.8:443 b.example": "allow b.example:443/tls by tls for b.example",
      "tls 8.8.8.8:443 c.example": "deny wrong-name default-deny",
    },
  },
  {
    title: "where an address rule allows the flow, nobody asks for a name",
    rules: "allow pypi.org; allow 8.8.8.0/24:443",
    pins: "pypi.org=8.8.8.8",
    flows: {
      "tcp 8.8.8.8:443": "allow 8.8.8.0/24:443 for pypi.org",
      "udp 8.8.8.8:443": "allow 8.8.8.0/24:443 for pypi.org",
      "tcp 8.8.8.8:80": "inspect",
      "tcp 8.8.8.9:443": "allow 8.8.8.0/24:443",
    },
  },
  {
    title: "a denied name is denied in the first bytes too, whatever allows its neighbour",
    rules: "allow *.example; deny bad.example:443; deny worse.example",
    pins: "good.example=8.8.8.8",
    flows: { "tcp 8.8.8.8:443": "inspect" },
    shown: {
      "tls 8.8.8.8:443 good.example": "allow *.example by tls for good.example",
      "tls 8.8.8.8:443 bad.example": "deny rule bad.example:443",
      "tls 8.8.8.8:443 worse.example": "deny rule worse.example",
    },
    lookups: { "bad.example": "yes", "worse.example": "deny rule worse.example" },
  },
  {
    title: "the public Internet by address opens all lookups, but denied ones",
    rules: "allow public:443; deny evil.com",
    flows: { "tcp 8.8.8.8:443": "allow public:443", "tcp 10.0.0.1:443": "deny default-deny" },
    lookups: { "pypi.org": "yes", "evil.com": "deny rule evil.com" },
    strips: ["10.0.0.1"],
  },
  {
    title: "0.0.0.0/0 opens lookups, and private addresses with it",
    rules: "allow 0.0.0.0/0",
    flows: { "tcp 10.0.0.1:443": "allow 0.0.0.0/0", "tcp [2606:4700::1]:443": "deny default-deny" },
    lookups: { "pypi.org": "yes" },
    keeps: ["10.0.0.1"],
    strips: ["fd00::1", "127.0.0.1"],
  },
  {
    title: "half of the Internet opens no lookup",
    rules: "allow 0.0.0.0/1; allow 128.0.0.0/1",
    lookups: { "pypi.org": "deny default-deny" },
  },
  {
    title: "rules for the host",
    rules: "allow host:8080; deny 8.8.8.8",
    flows: {
      "tcp 192.168.1.5:8080 at host": "allow host:8080",
      "tcp 192.168.1.5:8080": "deny default-deny",
      "tcp 192.168.1.5:8081 at host": "deny default-deny",
      "tcp 8.8.8.8:8080 at host": "deny rule 8.8.8.8",
    },
  },
  {
    title: "an IPv4 deny covers what carries its addresses, an allow does not",
    rules: "deny 9.9.9.0/24; allow 8.8.8.0/24",
    flows: {
      "tcp [64:ff9b::9.9.9.9]:443": "deny rule 9.9.9.0/24",
      "tcp [2002:909:909::1]:443": "deny rule 9.9.9.0/24",
      "tcp [64:ff9b::8.8.8.8]:443": "deny default-deny",
      "tcp [::ffff:8.8.8.8]:443": "deny protect protect metadata",
    },
  },
];
