/** Row 53: flows that show no name, or not in time, and how many there may be. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { DEFAULT_LIMITS } from "../../lib/config/limits.ts";
import { INSPECT_MAX_BYTES } from "../../lib/inspect/inspector.ts";
import { ascii, clientHello, type Extension, inRecords, serverName } from "../inspect/hellos.ts";
import { HOST4 } from "../support/virtual_host.ts";
import { helloFor, passes, REFUSED, refuses, requestFor, speak, start, SYN } from "./inspection.ts";

Deno.test("hostile 53: a hello or a head without end is refused at 16 KiB", async () => {
  const { gw, denials } = await start();
  await using _gw = gw;
  const padding: Extension = [0x0015, new Uint8Array(6_000)];
  const long = inRecords(
    clientHello({ extensions: [padding, serverName("allowed.example")] }),
    1,
  );
  const head = Uint8Array.from(ascii(`GET / HTTP/1.1\r\n${"X-Fill: 1\r\n".repeat(6_000)}`));
  for (const [words, hostPort] of [[long, 443], [head, 80]] as const) {
    const flow = gw.flow({ hostPort });
    await flow.opensToSay(words);
    await flow.speaks(1000, 0, INSPECT_MAX_BYTES - 1);
    await gw.run(10);
    assertEquals(flow.sent().filter(({ flags }) => flags.includes("R")), []);
    assertEquals([denials.length, gw.figures().relays], [hostPort === 443 ? 0 : 1, 1]);
    await flow.speaks(1, INSPECT_MAX_BYTES - 1, INSPECT_MAX_BYTES);
    await gw.run(10);
    assertEquals(denials.at(-1)!.reason, "no-name");
    assertMatch(denials.at(-1)!.detail, /16/);
    assertEquals(gw.host.dialed, []);
    await flow.guest(`R ${INSPECT_MAX_BYTES + 1}:${INSPECT_MAX_BYTES + 1}`);
    gw.forget();
    await gw.empties(0);
  }
});

Deno.test("hostile 53: a hello that says it is longer than 16 KiB is refused when it says so", async () => {
  const { gw, denials } = await start();
  await using _gw = gw;
  const padding: Extension = [0x0015, new Uint8Array(60_000)];
  const words = inRecords(clientHello({ extensions: [padding] }), 16_000);
  const { detail } = await refuses(gw, denials, words.slice(0, 9), "no-name");
  assertMatch(detail, /16/);
  await gw.empties(0);
});

Deno.test("hostile 53: silence, or a hello that never ends, is refused after 5 s", async () => {
  const { gw, denials } = await start();
  await using _gw = gw;
  const words = helloFor("allowed.example");
  for (const octets of [0, 1, words.length - 1]) {
    const flow = gw.flow({ hostPort: 443 });
    await flow.opensToSay(words);
    await flow.speaks(1460, 0, octets);
    await gw.run(DEFAULT_LIMITS.inspectMs - 1);
    assert(flow.sent().every(({ flags }) => flags === "."));
    assertEquals(gw.figures().relays, 1);
    await gw.run(1);
    assertEquals(flow.sent().map(({ flags }) => flags.replace(".", "")), ["R"]);
    gw.silent().counts(REFUSED);
    assertEquals([denials.at(-1)!.reason, gw.host.dialed], ["no-name", []]);
    assertStringIncludes(denials.at(-1)!.detail, "5 s");
    await gw.empties(0);
  }
  // A guest that never completes the handshake has no more time than that.
  const flow = gw.flow({ hostPort: 443 });
  await flow.guest(SYN);
  flow.expects("S. 0:0 ack 1");
  await gw.run(DEFAULT_LIMITS.inspectMs + 1);
  gw.forget();
  await gw.empties(0);
});

Deno.test("hostile 53: a FIN or an RST in the middle of a hello ends it without a dial", async () => {
  const { gw, denials } = await start();
  await using _gw = gw;
  const words = helloFor("allowed.example");
  for (const octets of [0, 1, words.length - 1]) {
    const flow = gw.flow({ hostPort: 443 });
    await flow.opensToSay(words);
    await flow.speaks(1460, 0, octets);
    await flow.guest(`F. ${octets + 1}:${octets + 1} ack 1`);
    await gw.settle();
    assertEquals(flow.sent().filter(({ flags }) => flags.includes("R")).length, 1);
    gw.silent().counts(REFUSED);
    assertStringIncludes(denials.at(-1)!.detail, "the flow ended before one came");
    assert(gw.isEmpty);
  }
  const refused = denials.length;
  for (const octets of [0, 1, words.length - 1]) {
    const flow = gw.flow({ hostPort: 443 });
    await flow.opensToSay(words);
    await flow.speaks(1460, 0, octets);
    await flow.guest(`R ${octets + 1}:${octets + 1}`);
    flow.sent();
    gw.silent().counts({ "tcp.reset.received": 1 });
    assert(gw.isEmpty, "no timer, no flow");
  }
  assertEquals([denials.length, gw.host.dialed], [refused, []]);
  // An RST while the host is being dialled takes that back.
  gw.host.blackHole(HOST4, 443);
  const { flow } = await speak(gw, words);
  assertEquals(gw.figures().dials, 1);
  flow.sent();
  await flow.guest(`R ${words.length + 1}:${words.length + 1}`);
  gw.silent().counts({ "tcp.reset.received": 1 });
  assert(gw.isEmpty);
  // A whole hello with its FIN is a flow like others.
  gw.host.listen(HOST4, 443);
  const last = gw.flow({ hostPort: 443 });
  await last.opensToSay(words);
  const end = words.length + 1;
  await last.guest(`FP. 1:${end} ack 1`);
  await gw.run(50);
  const [peer] = gw.host.accepted;
  assertEquals([peer!.take(), peer!.isEnded], [words, true]);
  await last.guest(`R ${end + 1}:${end + 1}`);
  gw.forget();
  await gw.empties();
});

Deno.test("hostile 53: a guest that does not read why it was refused is reset after 2 s", async () => {
  const { gw } = await start();
  await using _gw = gw;
  const words = requestFor("evil.com");
  for (const win of [65_535, 0]) {
    const flow = gw.flow({ hostPort: 80 });
    await flow.opensToSay(words);
    await flow.guest(`P. 1:${words.length + 1} ack 1 win ${win}`);
    // It goes on sending; nothing of that stays.
    for (let i = 0; i < 50; i++) {
      await flow.guest(`. ${words.length + 1}:${words.length + 1001} ack 1 fill 7`);
    }
    await gw.run(2_000);
    const resets = flow.sent().filter(({ flags }) => flags.includes("R"));
    assertEquals(resets.length, 1, `a window of ${win}`);
    gw.forget();
    await gw.empties(0);
  }
});

Deno.test("hostile 53: flows that are looked into stay within the limits on flows", async () => {
  const { gw } = await start(undefined, { limits: { tcpFlows: 64, tcpHalfOpen: 32 } });
  await using _gw = gw;
  // SYNs alone: half-open, as many as may be.
  for (let i = 0; i < 1_000; i++) {
    gw.send(gw.flow({ hostPort: 443, guestPort: 2_000 + i }).frame(SYN));
  }
  await gw.run(1);
  const { tcpFlows, relays } = gw.figures();
  assert(tcpFlows <= 32 && relays <= 32, JSON.stringify(gw.figures()));
  assert(gw.grown()["drop.tcp.halfopen"]! >= 1_000 - 32);
  await gw.run(DEFAULT_LIMITS.inspectMs);
  gw.forget();
  await gw.empties(0);
  // Whole handshakes, then silence: as many as there may be flows.
  const before = gw.figures().bufferBytes;
  for (let i = 0; i < 200; i++) {
    const flow = gw.flow({ hostPort: 443, guestPort: 10_000 + i });
    await flow.guest(SYN);
    flow.sent();
    await flow.guest(". 1:1 ack 1");
  }
  assert(gw.figures().relays <= 64, JSON.stringify(gw.figures()));
  assertEquals(gw.host.dialed, []);
  await gw.run(DEFAULT_LIMITS.inspectMs + 1);
  gw.forget();
  await gw.empties(0);
  assertEquals(gw.figures().bufferBytes, before);
  // And then it is as if nothing had been.
  gw.host.listen(HOST4, 443);
  await passes(gw, helloFor("allowed.example"));
});

Deno.test("hostile 53: of many flows that show no name a limited number waits, and the next SYN comes again", async () => {
  const { gw } = await start(
    { allow: ["allowed.example", "public:22"] },
    { limits: { inspectPending: 8 } },
  );
  await using _gw = gw;
  const before = gw.figures().bufferBytes;
  const words = helloFor("allowed.example");
  const many = 50;
  for (let i = 0; i < many; i++) {
    const flow = gw.flow({ hostPort: 443, guestPort: 10_000 + i });
    await flow.guest(SYN);
    flow.sent();
    if (i >= 8) continue;
    await flow.guest(". 1:1 ack 1");
    flow.says = words;
    await flow.speaks(1460, 0, words.length - 1); // all but the end of a hello
    flow.sent();
  }
  await gw.run(100); // for the last acknowledgements
  gw.packets();
  assertEquals([gw.figures().relays, gw.figures().tcpFlows, gw.host.dialed], [8, 8, []]);
  gw.silent().counts({ "drop.tcp.halfopen": many - 8 });
  // What needs no name goes on meanwhile.
  gw.host.listen(HOST4, 22);
  const other = gw.flow({ hostPort: 22, guestPort: 20_000 });
  await other.opens();
  await other.guest("R 1:1");
  gw.forget();
  // A flow's end makes room at once, for a SYN that comes again.
  gw.host.listen(HOST4, 443);
  const late = gw.flow({ hostPort: 443, guestPort: 20_001 });
  await late.guest(SYN);
  assertEquals(late.sent(), []);
  const first = gw.flow({ hostPort: 443, guestPort: 10_000 });
  await first.guest(`R ${words.length}:${words.length}`);
  gw.forget();
  await passes(gw, words, { guestPort: 20_001 });
  await gw.run(DEFAULT_LIMITS.inspectMs + 1);
  gw.forget();
  await gw.empties();
  assertEquals(gw.figures().bufferBytes, before);
});
