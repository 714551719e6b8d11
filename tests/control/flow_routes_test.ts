/** Flows over the control interface: which are said, and the end of one. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import type { FlowFilter } from "../../lib/control/api.ts";
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { until } from "../support/guest_rig.ts";
import { GATEWAY4 } from "../support/packets.ts";
import { ControlRig } from "./control_rig.ts";

/** A guest in front of a host that takes its connections. */
class Flows implements AsyncDisposable {
  readonly rig: ControlRig;
  readonly guest: EmbeddedGuest;
  readonly port: number;
  readonly #host: Deno.TcpListener;
  readonly #conns: Deno.TcpConn[] = [];

  private constructor(rig: ControlRig, guest: EmbeddedGuest, host: Deno.TcpListener) {
    this.rig = rig;
    this.guest = guest;
    this.#host = host;
    this.port = host.addr.port;
  }

  static async open(control: "unix" | "tcp" = "unix"): Promise<Flows> {
    const rig = await ControlRig.open({
      control,
      hostLoopback: true,
    });
    const host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    return new Flows(rig, await rig.attach(), host);
  }

  /** Connects the guest to the host's loopback, by way of the gateway's own address. */
  async connect() {
    const accepted = this.#host.accept();
    const flow = await this.guest.connect(GATEWAY4, this.port);
    this.#conns.push(await accepted);
    return flow;
  }

  /** What a filter finds, by numbers. */
  async ids(filter: FlowFilter = {}): Promise<number[]> {
    return (await this.rig.client.flows(filter)).map(({ id }) => id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const conn of this.#conns) conn.close();
    this.#host.close();
    await this.guest.close();
    await this.rig[Symbol.asyncDispose]();
  }
}

Deno.test("without a guest there are no flows", async () => {
  await using rig = await ControlRig.open();
  assertEquals(await rig.client.flowReport(), { flows: [], total: 0 });
  assertEquals(await rig.client.endFlow(1), false);
  const { status, text } = await rig.ask("DELETE", "/v1/flows/1");
  assertEquals([status, JSON.parse(text).error.hint], [404, "No guest is attached"]);
});

Deno.test("flows are said with their ends and octets, by protocol, peer and limit", async () => {
  await using flows = await Flows.open();
  const { rig: { client }, port } = flows;
  const first = await flows.connect();
  await flows.connect();
  await first.write(new Uint8Array(1_000));
  await until("the octets are counted", () => {
    return flows.rig.gateway.guest!.flows().some(({ upBytes }) => upBytes === 1_000);
  });
  const socket = flows.guest.udp();
  socket.send(GATEWAY4, port, new Uint8Array(9));
  await until("the datagram's flow is there", () => flows.rig.gateway.guest!.flows().length === 3);
  const { flows: [third, second, one], total } = await client.flowReport();
  assertEquals([third!.id, second!.id, one!.id, total], [3, 2, 1, 3]);
  assertEquals([third!.protocol, third!.state], ["udp", "open"]);
  assertEquals([one!.protocol, one!.opener, one!.state], ["tcp", "guest", "established"]);
  assertEquals([one!.peer, one!.upBytes, one!.downBytes], [`${GATEWAY4}:${port}`, 1_000, 0]);
  assertMatch(one!.guest, /^100\.96\.0\.2:\d+$/);
  assert(Math.abs(one!.startedMs - Date.now()) < 60_000);
  assertEquals(await flows.ids({ protocol: "tcp" }), [2, 1]);
  assertEquals(await flows.ids({ protocol: "udp" }), [3]);
  assertEquals(await flows.ids({ peer: GATEWAY4 }), [3, 2, 1]);
  assertEquals(await flows.ids({ peer: `${GATEWAY4}:${port}`, protocol: "tcp" }), [2, 1]);
  assertEquals(await flows.ids({ peer: `${GATEWAY4}:1` }), []);
  assertEquals(await flows.ids({ peer: "100.96.0.11" }), []);
  assertEquals(await flows.ids({ peer: "[2001:db8::1]:443" }), []);
  assertEquals(await flows.ids({ name: "db.test" }), []);
  assertEquals(await flows.ids({ limit: 2 }), [3, 2]);
  assertEquals(await client.flowReport({ limit: 0 }), { flows: [], total: 3 });
  socket.close();
});

Deno.test("a flow has one beginning, whenever it is asked for: programs know it again by that", async () => {
  await using flows = await Flows.open();
  await flows.connect();
  const { guest } = flows.rig.gateway;
  const begun = new Set<number>();
  for (let look = 0; look < 100; look++) {
    begun.add(guest!.flows()[0]!.startedMs);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assertEquals(begun.size, 1);
});

Deno.test("a name finds what it and the names below it led to", async () => {
  await using rig = await ControlRig.open();
  const flow = (id: number, name: string | null, peer: string) => ({
    ...{
      id,
      protocol: "tcp" as const,
      opener: "guest" as const,
      guest: "100.96.0.2:1",
      peer,
      name,
    },
    ...{ rule: null, state: "established", startedMs: 1, upBytes: 0, downBytes: 0 },
  });
  const guest = await rig.attach();
  rig.gateway.guest!.flows = () => [
    flow(1, "a.test", "192.0.2.1:443"),
    flow(2, "b.a.test", "[2001:db8::1]:443"),
    flow(3, "ba.test", "[2001:db8::1]:80"),
    flow(4, null, "[2001:db8::12]:443"),
  ];
  const ids = async (filter: FlowFilter) => {
    return (await rig.client.flows(filter)).map(({ id }) => id);
  };
  assertEquals(await ids({ name: "a.test" }), [2, 1]);
  assertEquals(await ids({ name: "A.Test." }), [2, 1]);
  assertEquals(await ids({ name: "test" }), [3, 2, 1]);
  assertEquals(await ids({ peer: "2001:DB8:0::1" }), [3, 2]);
  assertEquals(await ids({ peer: "[2001:db8::1]" }), [3, 2]);
  assertEquals(await ids({ peer: "[2001:db8::1]:443" }), [2]);
  await guest.close();
});

Deno.test("a flow is ended with a reset, and one that is not there is said to be absent", async () => {
  await using flows = await Flows.open("tcp");
  const { rig } = flows;
  const flow = await flows.connect();
  await flows.connect();
  const { status, text } = await rig.ask("DELETE", "/v1/flows/1");
  assertEquals([status, JSON.parse(text).id, JSON.parse(text).peer], [
    200,
    1,
    `${GATEWAY4}:${flows.port}`,
  ]);
  await assertRejects(() => flow.read(new Uint8Array(1)), GuestError, "reset");
  await until("it is gone", () => rig.gateway.guest!.flows().length === 1);
  const again = await rig.ask("DELETE", "/v1/flows/1");
  assertEquals([again.status, JSON.parse(again.text).error], [404, {
    code: "absent",
    message: "there is no flow 1",
    hint: "It may have ended by itself",
  }]);
  assertEquals(await rig.client.endFlow(1), false);
  assertEquals(await rig.client.endFlow(2), true);
});

Deno.test("a filter that cannot be meant is refused with what could be", async () => {
  await using rig = await ControlRig.open();
  const cases: [target: string, status: number, message: RegExp][] = [
    ["?protocol=icmp", 422, /^protocol is neither tcp nor udp$/],
    ["?peer=a.test", 422, /^peer is no address$/],
    ["?peer=1.2.3", 422, /^peer is no address$/],
    ["?peer=", 422, /^peer is no address$/],
    ["?name=", 422, /^name is no host name$/],
    ["?name=a..b", 422, /^name is no host name$/],
    ["?limit=-1", 422, /^limit is not a whole number from 0 to 65536$/],
    ["?limit=65537", 422, /^limit is/],
    ["?limit=1e3", 422, /^limit is/],
    ["?nam=a", 400, /^the query has an unknown parameter$/],
    ["?limit=1&limit=2", 400, /^the query has limit twice$/],
  ];
  for (const [target, status, message] of cases) {
    const answer = await rig.ask("GET", `/v1/flows${target}`);
    assertEquals(answer.status, status, target);
    const { error } = JSON.parse(answer.text);
    assertMatch(error.message, message);
    assertMatch(error.hint, /^[A-Z]/);
  }
  for (const id of ["x", "0", "-1", "1.5", "1e3", "9".repeat(16)]) {
    assertEquals((await rig.ask("DELETE", `/v1/flows/${id}`)).status, 422, id);
  }
  const error = await assertRejects(() => rig.client.flows({ peer: "nowhere" }), GatewayError);
  assertEquals((error as GatewayError).code, "config");
});
