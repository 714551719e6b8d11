/** Rows 48 and 49, what an upstream's answer may cost, and what it may say behind an own alias. */
import { assertEquals } from "@std/assert";
import { nameOctets } from "../../lib/dns/name.ts";
import type { Denial } from "../../lib/policy/denial.ts";
import { concat, u16 } from "../support/packets.ts";
import { guestPolicy } from "../support/policy.ts";
import { HOST4 } from "../support/virtual_host.ts";
import { HostileGuest } from "./hostile_guest.ts";
import { RESOLVER, Resolver } from "./resolver.ts";

/** A question without EDNS. */
function question(text: string): Uint8Array {
  return concat([0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], nameOctets(text)!, [0, 1, 0, 1]);
}

/** An answer with records of four octets of a name, as many as `bytes` hold; some may stand before. */
function answerOf(asked: Uint8Array, bytes: number, owner: number, before: number[] = []) {
  const records: number[] = [...before];
  let count = before.length > 0 ? 1 : 0;
  for (; asked.length + records.length + 16 <= bytes; count++) {
    records.push(0xc0, owner, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 45, 2, count >> 8, count & 255);
  }
  const answer = concat(asked, records);
  answer.set([0x81, 0x80], 2);
  answer.set(u16(count), 6);
  return answer;
}

/** Answers as `make` says, to the questions of a guest that may look up all of `example`. */
async function start(make: (asked: Uint8Array) => Uint8Array) {
  const gw = await HostileGuest.start({ policy: guestPolicy({ allow: ["*.example"] }) });
  const resolver = new Resolver(gw, {});
  gw.host.udp(RESOLVER, 53, (asked, reply) => reply(make(asked)));
  return { gw, resolver };
}

Deno.test("hostile 48: an answer of 64 KiB ties 64 addresses at most, and is not kept", async () => {
  const { gw, resolver } = await start((asked) => answerOf(asked, 65_000, 12));
  await using _gw = gw;
  for (const _ of [1, 2]) {
    await resolver.askRaw(question("many.example"));
    assertEquals(gw.taken(({ payload }) => payload).length, 1);
  }
  const { forwarded, answered, cached } = gw.network.dnsCounts;
  assertEquals([forwarded, answered, cached], [2, 2, 0]);
  assertEquals(gw.figures().pins, 64);
  gw.counts({});
  await gw.empties(0);
});

Deno.test("hostile 48: a chain that grows by a DNAME over thousands of records is read once, and ends", async () => {
  const above = `${Array(100).fill("d").join(".")}.example`;
  const name = `x.z.${above}`;
  // z.ABOVE is put in the place of ABOVE: each link makes the name longer.
  const grows = [0xc0, 16, 0, 39, 0, 1, 0, 0, 14, 16, 0, 2, 0xc0, 14];
  const { gw, resolver } = await start((asked) => answerOf(asked, 8_000, 14, grows));
  await using _gw = gw;
  for (let i = 0; i < 20; i++) {
    await resolver.askRaw(question(name));
    assertEquals(gw.taken(({ payload }) => payload).length, 1);
  }
  const { forwarded, answered, cached } = gw.network.dnsCounts;
  assertEquals([forwarded, answered, cached], [1, 1, 19]);
  assertEquals(gw.figures().pins, 0);
  await gw.empties(0);
});

Deno.test("hostile 49: an own alias to a stranger's name passes none of the stranger's private addresses", async () => {
  const denials: Denial[] = [];
  await using gw = await HostileGuest.start({
    policy: guestPolicy({ allow: ["db.lan", "git.lan"] }),
    onDenial: (denial) => void denials.push(denial),
    dns: {
      upstreams: [RESOLVER],
      records: { "db.lan": { cname: "b.stranger.test" }, "git.lan": { cname: "git.corp.test" } },
      zones: { "corp.test": ["10.0.0.54"] },
    },
  });
  const zone = {
    "b.stranger.test": ["10.0.0.9", HOST4, "127.0.0.1"],
    "git.corp.test": ["10.0.0.6", "127.0.0.1"],
  };
  const stranger = new Resolver(gw, zone);
  const corp = new Resolver(gw, zone, "10.0.0.54");
  assertEquals((await stranger.lookUp("db.lan")).addresses, [HOST4]);
  assertEquals((await stranger.lookUp("git.lan")).addresses, ["10.0.0.6"]);
  assertEquals([stranger.asked, corp.asked], [["b.stranger.test A"], ["git.corp.test A"]]);
  assertEquals(denials.map(({ name, reason }) => [name, reason]), [
    ["b.stranger.test", "rebind"],
    ["git.corp.test", "rebind"],
  ]);
  await gw.empties(0);
});
