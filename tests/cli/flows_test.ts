/** `flows`, as a process that asks a running gateway, and its lines. */
import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { UsageError } from "../../lib/cli/exit.ts";
import { flowLines, flowText, readFilter } from "../../lib/cli/flows.ts";
import { octetsText } from "../../lib/cli/octets_text.ts";
import { GatewayClient, parseEndpoint } from "../../lib/control/client.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import type { FlowInfo } from "../../lib/host/flow_info.ts";
import { BackgroundProgram, until } from "../guest/program.ts";
import { cliWords, Folder } from "./cli_process.ts";
import { askPermissions, ControlProgram } from "./control_program.ts";

const FLOW: FlowInfo = {
  id: 1,
  protocol: "tcp",
  opener: "guest",
  guest: "100.96.0.2:40000",
  peer: "192.0.2.7:443",
  name: null,
  rule: null,
  state: "established",
  startedMs: 0,
  upBytes: 0,
  downBytes: 0,
};

Deno.test("flows shows what the guest has open, filters it and ends one", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder, "--host-loopback");
  const ask = (...args: string[]) => gateway.ask("flows", "--control", gateway.control, ...args);
  assertEquals((await ask()).stdout, "no flows\n");
  const guest = await gateway.attach();
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = host.addr;
  const accepted = host.accept();
  const flow = await guest.connect("100.96.0.1", port);
  using _peer = await accepted;
  const { code, stdout, stderr } = await ask();
  assertEquals([code, stderr], [0, ""]);
  const [head, line, count, end] = stdout.split("\n");
  assertMatch(head!, /^ID {2}FLOW +FOR +UP +DOWN {2}STATE +RULE$/);
  const shown = new RegExp(
    `^ 1 {2}tcp to 100\\.96\\.0\\.1:${port} +\\d+ s +0 B +0 B {2}established {2}-$`,
  );
  assertMatch(line!, shown);
  assertEquals([count, end], ["1 flow", ""]);
  assertEquals((await ask("udp")).stdout, "no flows\n");
  assertEquals((await ask("a.test")).stdout, "no flows\n");
  const json = JSON.parse((await ask("--json", "100.96.0.1")).stdout);
  assertEquals([json.total, json.flows[0].id, json.flows[0].peer], [1, 1, `100.96.0.1:${port}`]);
  const ended = await ask("--end", "1");
  assertEquals([ended.code, ended.stdout], [0, "flow 1 was ended\n"]);
  await assertRejects(() => flow.read(new Uint8Array(1)), GuestError, "reset");
  const again = await ask("--end", "1");
  assertEquals([again.code, again.stdout, again.stderr], [
    1,
    "",
    "there is no flow 1; it may have ended by itself\n",
  ]);
});

Deno.test("--follow shows flows that begin and end, to the gateway's end", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder, "--host-loopback");
  const guest = await gateway.attach();
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connect = async () => {
    const accepted = host.accept();
    const flow = await guest.connect("100.96.0.1", host.addr.port);
    (await accepted).close();
    return flow;
  };
  const first = await connect();
  const words = ["flows", "--control", gateway.control, "--follow"];
  const follow = (...more: string[]) =>
    new BackgroundProgram(cliWords(askPermissions(folder), [...words, ...more]));
  await using text = follow();
  await using json = follow("--json", "tcp");
  await text.line(/Z {2}began {2}1 {2}tcp to 100\.96\.0\.1:\d+$/);
  const began = JSON.parse(await json.line(/"flow-began"/));
  assertEquals([began.id, began.timeMs], [1, began.startedMs]);
  first.abort();
  await text.line(/Z {2}ended {2}1 {2}tcp to 100\.96\.0\.1:\d+ after \d+ s, up 0 B, down 0 B$/);
  assertEquals(JSON.parse(await json.line(/"flow-ended"/)).id, 1);
  await connect();
  await text.line(/Z {2}began {2}2 /);
  const client = new GatewayClient(parseEndpoint(gateway.control));
  assertEquals((await client.flows()).map(({ id }) => id), [2]);
  assertEquals(await gateway.program.end("SIGTERM"), { code: 0, forced: false });
  for (const follower of [text, json]) {
    await follower.line(/^the gateway on unix:\S+ has ended$/);
    await until("it ends by itself", () => follower.ended);
    assertEquals((await follower.end("SIGTERM")).code, 0);
  }
});

Deno.test("a filter is a protocol, an address or a name", () => {
  assertEquals(readFilter(undefined), {});
  assertEquals(readFilter("udp"), { protocol: "udp" });
  for (const peer of ["192.0.2.7", "192.0.2.7:443", "2001:db8::1", "[2001:db8::1]:443", "[::1]"]) {
    assertEquals(readFilter(peer), { peer });
  }
  assertEquals(readFilter("Pypi.ORG."), { name: "pypi.org" });
  for (const text of ["1.2.3", "a b", "", ".", "443", "a.test:443"]) {
    assertThrows(() => readFilter(text), UsageError, `"${text}" is none of tcp, udp, an address`);
  }
});

Deno.test("a flow reads as whereto or wherefrom, and the columns stand below each other", () => {
  const named = { ...FLOW, id: 12, name: "pypi.org", rule: "pypi.org", upBytes: 1_234 };
  const six = { ...FLOW, peer: "[2001:db8::1]:443", name: "a.test" };
  const published: FlowInfo = {
    ...{ ...FLOW, opener: "host", guest: "100.96.0.2:80", peer: "127.0.0.1:5000" },
  };
  assertEquals([FLOW, named, six, published].map(flowText), [
    "tcp to 192.0.2.7:443",
    "tcp to pypi.org:443 (192.0.2.7)",
    "tcp to a.test:443 (2001:db8::1)",
    "tcp from 127.0.0.1:5000 to port 80",
  ]);
  assertEquals(flowLines({ flows: [named, FLOW], total: 5 }, 61_000), [
    "ID  FLOW                                   FOR       UP  DOWN  STATE        RULE",
    "12  tcp to pypi.org:443 (192.0.2.7)  1 min 1 s  1.23 kB   0 B  established  pypi.org",
    " 1  tcp to 192.0.2.7:443             1 min 1 s      0 B   0 B  established  -",
    "and 3 more",
    "5 flows",
  ]);
});

Deno.test("octets are in three figures", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [999, "999 B"],
    [1_000, "1.00 kB"],
    [45_600_000, "45.6 MB"],
    [999_499, "999 kB"],
    [999_999, "1.00 MB"],
    [2 ** 53, "9.01 PB"],
  ];
  for (const [octets, text] of cases) assertEquals(octetsText(octets), text);
});
