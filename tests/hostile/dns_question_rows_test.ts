/** Rows 47 and 50, what a question has beside its name: classes, records, options, spellings. */
import { Buffer } from "node:buffer";
import { assertEquals } from "@std/assert";
import packet from "dns-packet";
import { concat, pattern, u16 } from "../support/packets.ts";
import { guestPolicy } from "../support/policy.ts";
import { HostileGuest } from "./hostile_guest.ts";
import { RESOLVER, Resolver } from "./resolver.ts";

/** A question message: its name's octets, then additional records. */
function question(text: string, klass: number, ...records: readonly number[][]): Uint8Array {
  const labels = text.split(".")
    .flatMap((label) => [label.length, ...new TextEncoder().encode(label)]);
  const head = [0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, records.length];
  return concat(head, labels, [0, 0, 1, 0, klass], ...records);
}

function record(type: number, data: readonly number[], klass = 1232): number[] {
  return [0, ...u16(type), ...u16(klass), 0, 0, 0, 0, ...u16(data.length), ...data];
}

function option(code: number, data: readonly number[]): number[] {
  return [...u16(code), ...u16(data.length), ...data];
}

/** What comes to the upstream, but for its id. */
function heard(gw: HostileGuest): Uint8Array[] {
  const messages: Uint8Array[] = [];
  gw.host.udp(RESOLVER, 53, (bytes, reply) => {
    messages.push(bytes.slice(2));
    const answer = bytes.slice();
    answer.set([0x81, 0x80], 2);
    reply(answer);
  });
  return messages;
}

Deno.test("hostile 47: one name in any spelling is on its way 16 times at most, the rest hears SERVFAIL", async () => {
  await using gw = await HostileGuest.start();
  const resolver = new Resolver(gw, {});
  const ids = new Set<number>();
  let answers = false;
  gw.host.udp(RESOLVER, 53, (bytes, reply) => {
    ids.add(bytes[0]! * 256 + bytes[1]!);
    const answer = bytes.slice();
    answer.set([0x81, 0x80], 2);
    if (answers) reply(answer);
  });
  const spelled = (i: number) =>
    [..."api.example"].map((char, at) => i >> at & 1 ? char.toUpperCase() : char).join("");
  const asks = async (count: number) => {
    // Another spelling each time, and another size of answers: none is equal to another.
    for (let i = 0; i < count; i++) {
      await resolver.askRaw(question(spelled(i), 1, record(41, [], 1232 + i)));
    }
    return resolver.outcomes().map(({ rcode }) => rcode);
  };
  assertEquals(await asks(250), Array(234).fill("SERVFAIL"));
  assertEquals([ids.size, gw.figures().dnsInFlight], [16, 16]);
  // An equal one shares its query, another type or name has its own.
  await resolver.askRaw(question(spelled(0), 1, record(41, [], 1232)));
  await resolver.askRaw(question("other.example", 1));
  assertEquals([ids.size, gw.figures().dnsInFlight], [17, 18]);
  await gw.run(5_000);
  assertEquals(resolver.outcomes().map(({ rcode }) => rcode), Array(18).fill("SERVFAIL"));
  answers = true;
  assertEquals(await asks(8), Array(8).fill("NOERROR"));
  await gw.empties(0);
});

Deno.test("hostile 50: nothing rides upstream behind an allowed name: no record, option or signature", async () => {
  await using gw = await HostileGuest.start({ policy: guestPolicy({ allow: ["api.example"] }) });
  const resolver = new Resolver(gw, {});
  const messages = heard(gw);
  const secret = [...pattern(200)];
  const rcodesOf = async (message: Uint8Array) => {
    await resolver.askRaw(message);
    return resolver.outcomes().map(({ rcode }) => rcode);
  };
  for (const type of [1, 16, 99, 65_280]) {
    for (const more of [[], [record(41, [])]]) {
      const message = question("api.example", 1, ...more, record(type, secret, 1));
      assertEquals(await rcodesOf(message), ["FORMERR"], `type ${type}`);
    }
  }
  for (const signature of [record(250, secret, 255), record(24, [0, 0, ...secret], 255)]) {
    const message = question("api.example", 1, record(41, []), signature);
    assertEquals(await rcodesOf(message), ["REFUSED"]);
  }
  assertEquals(messages, []);
  // A client subnet, NSID, a cookie, padding, one for local use: the question goes without them.
  const plain = question("api.example", 1, record(41, []));
  for (const code of [8, 3, 10, 12, 65_001]) {
    const message = question("api.example", 1, record(41, option(code, secret)));
    assertEquals(await rcodesOf(message), ["NOERROR"], `option ${code}`);
    assertEquals(messages.splice(0), [plain.slice(2)], `option ${code}`);
  }
  gw.silent().counts({});
  await gw.empties(0);
});

Deno.test("hostile 50: without rules about names a question goes upstream with its options and its signature", async () => {
  await using gw = await HostileGuest.start({ policy: guestPolicy({}) });
  const resolver = new Resolver(gw, {});
  const messages = heard(gw);
  for (
    const message of [
      question("api.example", 1, record(41, option(8, [0, 1, 24, 0, 192, 0, 2]))),
      question("api.example", 1, record(250, [1, 2, 3], 255)),
    ]
  ) {
    await resolver.askRaw(message);
    assertEquals(messages.splice(0), [message.slice(2)]);
    assertEquals(resolver.outcomes().length, 1);
  }
  await gw.empties(0);
});

Deno.test("hostile 50: an own name, and any in a local zone, goes upstream in no class", async () => {
  await using gw = await HostileGuest.start({
    dns: { upstreams: [RESOLVER], zones: { corp: "local" }, records: { "db.lan": ["10.0.0.5"] } },
  });
  const resolver = new Resolver(gw, {});
  const messages = heard(gw);
  for (const own of ["payroll.corp", "corp", "db.lan", "gateway.internal"]) {
    for (const klass of [3, 4, 254, 0]) {
      await resolver.askRaw(question(own, klass));
      const rcodes = gw.taken(({ payload }) => packet.decode(Buffer.from(payload.slice(8))).rcode);
      assertEquals(rcodes, ["REFUSED"], `${own} in class ${klass}`);
    }
  }
  assertEquals(messages, []);
  await gw.empties(0);
});

Deno.test("hostile 50: a question under way is judged by rules that come meanwhile, and not sent again where they refuse it", async () => {
  await using gw = await HostileGuest.start({
    policy: guestPolicy({}),
    dns: { upstreams: [RESOLVER], records: { "db.lan": { cname: "b.example" } } },
  });
  const resolver = new Resolver(gw, {});
  const messages: Uint8Array[] = [];
  gw.host.udp(RESOLVER, 53, (bytes) => void messages.push(bytes.slice(2)));
  const opt = record(41, option(8, [0, 1, 24, 0, 192, 0, 2]));
  for (const name of ["a.example", "b.example", "db.lan"]) {
    await resolver.askRaw(question(name, 1, opt));
  }
  assertEquals(messages.splice(0).length, 3);
  gw.network.setPolicy(guestPolicy({ allow: ["a.example"], deny: ["b.example"] }));
  await gw.settle();
  const denied = resolver.outcomes().map(({ rcode, extended }) =>
    `${rcode} ${extended?.slice(0, 22)}`
  );
  assertEquals(denied, Array(2).fill("REFUSED 15 denied by b.example"));
  await gw.run(10_000);
  // What is still allowed goes on as it may from now on, without its option.
  const plain = question("a.example", 1, record(41, [])).slice(2);
  assertEquals(messages.length > 0 && messages.every((each) => `${each}` === `${plain}`), true);
  assertEquals(resolver.outcomes().map(({ rcode }) => rcode), ["SERVFAIL"]);
  await gw.empties(0);
});
