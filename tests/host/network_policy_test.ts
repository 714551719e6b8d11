/** Any policy over a whole network: what its words say of a lookup or flow is what the guest sees. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { ProtectLevel } from "../../lib/policy/protect.ts";
import type { Rule } from "../../lib/policy/rule.ts";
import { RuleSet } from "../../lib/policy/rule_set.ts";
import { HostileGuest } from "../hostile/hostile_guest.ts";
import { helloFor, requestFor, SYN } from "../hostile/inspection.ts";
import { Resolver } from "../hostile/resolver.ts";
import { NaiveJudge, type NaivePin } from "../policy/naive_judge.ts";
import { bytesOf, ruleOf } from "../policy/rules.ts";
import {
  ethernet,
  GUEST4,
  GUEST6,
  icmp4,
  icmp6,
  ip4,
  ip6,
  pattern,
  udp,
} from "../support/packets.ts";

const ZONE = {
  "a.example": ["93.184.216.34", "10.0.0.9"],
  "b.example": ["93.184.216.34"],
  "c.b.example": ["2606:2800:220:1::34"],
  "evil.com": ["93.184.216.99", "169.254.169.254"],
};
const PLACES = [
  "93.184.216.34",
  "93.184.216.99",
  "10.0.0.9",
  "2606:2800:220:1::34",
  "fd00::9",
  "169.254.169.254",
  "127.0.0.1",
];

const rules: fc.Arbitrary<Rule[]> = fc.array(
  fc.constantFrom(
    "allow a.example",
    "allow *.b.example",
    "allow *.example:22,443",
    "allow b.example:80/tls",
    "allow a.example:123/udp",
    "allow public",
    "allow public:80",
    "allow 10.0.0.0/8:22/tcp",
    "allow private",
    "allow 93.184.216.34:443/udp",
    "deny evil.com",
    "deny *.b.example:22",
    "deny a.example:80",
    "deny 93.184.216.0/24:22",
    "deny private:80",
    "deny fd00::/8",
    "deny metadata",
    "allow a.example/icmp",
    "allow public/icmp",
    "deny b.example/icmp",
    "deny 10.0.0.0/8/icmp",
  ),
  { maxLength: 6 },
).map((texts) => texts.map((text, i) => ruleOf(text, i)));

/** What the guest sees of a SYN. */
async function syn(gw: HostileGuest, host: string, hostPort: number): Promise<string> {
  const dialed = gw.host.dialed.length;
  gw.host.listen(host, hostPort);
  const flow = gw.flow({ host, hostPort });
  await flow.guest(SYN);
  await gw.run(1);
  const [first] = flow.sent();
  const errors = gw.errors().length;
  const isDialed = gw.host.dialed.length > dialed;
  if (first?.flags === "S.") {
    await flow.guest("R. 1:1 ack 1");
    return isDialed ? "allow" : "inspect";
  }
  assertEquals([first?.flags, errors, isDialed], ["R.", 1, false]);
  return "deny";
}

/** What the guest sees of a datagram. */
async function datagram(gw: HostileGuest, host: string, port: number): Promise<string> {
  const six = host.includes(":");
  let got = 0;
  gw.host.udp(host, port, () => got++);
  const data = udp(six ? GUEST6 : GUEST4, 5_000 + port, host, port, pattern(10));
  await gw.sends(
    ethernet(six ? ip6(data, { destination: host }) : ip4(data, { destination: host })),
  );
  const errors = gw.errors().length;
  assertEquals(errors + got, 1, "one of the two");
  return errors > 0 ? "deny" : "allow";
}

/** What the guest sees of a ping. */
async function ping(gw: HostileGuest, host: string): Promise<string> {
  const six = host.includes(":");
  gw.host.ping(host, { kind: "answered" });
  const rest = [0, 1, 0, 1];
  const frame = six
    ? ip6(icmp6(GUEST6, host, 128, 0, rest, pattern(9)), { destination: host, next: 58 })
    : ip4(icmp4(8, 0, rest, pattern(9)), { destination: host, protocol: 1 });
  await gw.sends(ethernet(frame));
  await gw.settle();
  const replies = gw.taken(({ source, payload }) => {
    return source === host && payload[0] === (six ? 129 : 0) ? payload : null;
  });
  assertEquals(gw.errors().length + replies.length, 1, "one of the two");
  return replies.length > 0 ? "allow" : "deny";
}

Deno.test("network: what a policy's words say of any lookup and flow is what the guest sees", async () => {
  const levels = fc.constantFrom<ProtectLevel>("off", "metadata", "metadata", "strict");
  await fc.assert(
    fc.asyncProperty(rules, levels, async (rules, protect) => {
      await using gw = await HostileGuest.start({
        policy: { protect, rules: new RuleSet(rules), denyPage: false, ech: "refuse" },
        limits: { pingsPerSecond: 1_000, pingsInFlight: 64 },
      });
      const resolver = new Resolver(gw, ZONE);
      const lookups = new NaiveJudge(rules, protect, []);
      const pins: NaivePin[] = [];
      for (const [name, addresses] of Object.entries(ZONE)) {
        const outcome = await resolver.lookUp(name);
        const isAllowed = lookups.lookup(name, false) === "allow";
        const kept = addresses.filter((each) => lookups.keeps(bytesOf(each), false));
        assertEquals(outcome.rcode, isAllowed ? "NOERROR" : "REFUSED", name);
        assertEquals(outcome.addresses, isAllowed ? kept : [], name);
        for (const each of outcome.addresses) pins.push({ name, address: bytesOf(each) });
      }
      gw.forget();
      const judge = new NaiveJudge(rules, protect, rules.length === 0 ? [] : pins);
      for (const place of PLACES) {
        const flow = { address: bytesOf(place), isHost: () => false };
        for (const port of [22, 80, 443]) {
          const [said] = judge.flow({ ...flow, port, protocol: "tcp" }).split(" ");
          assertEquals(await syn(gw, place, port), said, `tcp ${place} ${port}`);
        }
        for (const port of [123, 443]) {
          const [said] = judge.flow({ ...flow, port, protocol: "udp" }).split(" ");
          assertEquals(await datagram(gw, place, port), said, `udp ${place} ${port}`);
        }
        const [said] = judge.flow({ ...flow, port: 0, protocol: "icmp" }).split(" ");
        assertEquals(await ping(gw, place), said, `icmp ${place}`);
        await gw.run(100); // errors are limited
      }
      gw.forget();
      await gw.empties();
    }),
    { numRuns: 60 },
  );
});

/** A flow that is under way. */
interface Live {
  readonly text: string;
  /** What the policy's words say of it. */
  word(judge: NaiveJudge): string;
  isAlive(): boolean;
}

async function tcpFlows(gw: HostileGuest, judge: NaiveJudge): Promise<Live[]> {
  const live: Live[] = [];
  let guestPort = 40_000;
  for (const place of PLACES) {
    for (const port of [22, 80, 443]) {
      const flow = { address: bytesOf(place), port, protocol: "tcp", isHost: () => false } as const;
      const word = judge.flow(flow);
      if (word !== "allow" && word !== "inspect") continue;
      gw.host.listen(place, port);
      const names = word === "allow" ? [null] : Object.keys(ZONE);
      for (const name of names) {
        const kind = port === 80 ? "http" : "tls";
        if (name !== null && judge.shown(flow, kind, name) !== "allow") continue;
        const guest = gw.flow({ host: place, hostPort: port, guestPort: guestPort++ });
        if (name === null) await guest.opens();
        else {
          await guest.opensToSay(port === 80 ? requestFor(name) : helloFor(name));
          await guest.speaks();
          await gw.run(5);
        }
        const peer = gw.host.accepted.at(-1)!;
        assertEquals(peer.label, `${place} ${port}`);
        live.push({
          text: `tcp ${place} ${port} ${name}`,
          word: (judge) => {
            const again = judge.flow(flow);
            return again === "inspect" && name !== null ? judge.shown(flow, kind, name) : again;
          },
          isAlive: () => !peer.isClosed,
        });
      }
    }
  }
  return live;
}

Deno.test("network: of any flows under way those go on that another policy allows, and no others", async () => {
  await fc.assert(
    fc.asyncProperty(
      rules,
      fc.array(rules, { minLength: 1, maxLength: 4 }),
      async (first, next) => {
        const policyOf = (rules: Rule[]) => ({
          protect: "metadata",
          rules: new RuleSet(rules),
          denyPage: false,
          ech: "refuse",
        } as const);
        await using gw = await HostileGuest.start({ policy: policyOf(first) });
        const resolver = new Resolver(gw, ZONE);
        const pins: NaivePin[] = [];
        for (const name of Object.keys(ZONE)) {
          for (const each of (await resolver.lookUp(name)).addresses) {
            pins.push({ name, address: bytesOf(each) });
          }
        }
        const known = first.length === 0 ? [] : pins;
        gw.forget();
        let live = await tcpFlows(gw, new NaiveJudge(first, "metadata", known));
        for (const rules of next) {
          gw.network.setPolicy(policyOf(rules));
          await gw.settle();
          const judge = new NaiveJudge(rules, "metadata", known);
          for (const each of live) {
            const said = `${each.text}: ${rules.map(({ action, text }) => `${action} ${text}`)}`;
            assertEquals(each.isAlive(), each.word(judge) === "allow", said);
          }
          live = live.filter((each) => each.isAlive());
        }
        gw.network.setPolicy(policyOf([ruleOf("deny 0.0.0.0/0"), ruleOf("deny ::/0")]));
        await gw.settle();
        gw.forget();
        await gw.empties(0);
      },
    ),
    { numRuns: 60 },
  );
});
