/** A reload and an end that are asked for over the control interface. */
import { assertEquals, assertRejects } from "@std/assert";
import { ConfigError, GatewayError } from "../../lib/config/errors.ts";
import type { ReloadReport } from "../../lib/control/api.ts";
import type { GuestTcp } from "../../lib/guest/guest_tcp.ts";
import { GATEWAY4, pattern } from "../support/packets.ts";
import { ControlRig } from "./control_rig.ts";

Deno.test("a reload is the program's own, its fault is said, and without a file it is refused", async () => {
  const report: ReloadReport = { file: "a.yaml", rules: 3, needRestart: ["publish"], notice: null };
  let isWrong = false;
  await using rig = await ControlRig.open({
    reload: () => {
      if (isWrong) throw new ConfigError([{ key: "a.yaml:1:1", text: "is wrong" }]);
      return Promise.resolve(report);
    },
  });
  assertEquals(await rig.client.reload(), report);
  isWrong = true;
  const error = await assertRejects(() => rig.client.reload(), GatewayError) as GatewayError;
  assertEquals([error.code, error.message], ["config", "a.yaml:1:1: is wrong"]);
  await using without = await ControlRig.open();
  const { status, text } = await without.ask("POST", "/v1/reload");
  assertEquals([status, JSON.parse(text).error], [409, {
    code: "conflict",
    message: "the gateway was started without a file to read again",
    hint: "PUT /v1/policy changes its policy; --config FILE at its start names a file",
  }]);
});

Deno.test("stop is answered before the end, also where no guest is there", async () => {
  for (const control of ["unix", "tcp"] as const) {
    await using rig = await ControlRig.open({ control });
    const { status, text } = await rig.ask("POST", "/v1/stop");
    assertEquals([status, text], [200, `{"status":"stopping"}\n`]);
    await rig.gateway.finished;
    await rig.control.finished;
    const error = await assertRejects(() => rig.client.status(), GatewayError) as GatewayError;
    assertEquals(error.code, "no-gateway");
  }
});

/**
 * Writes to a host that reads nothing until its sockets take no more, whatever the system lets them
 * take, so that the gateway holds the rest; says how much was written.
 */
async function writeUntilHeld(rig: ControlRig, flow: GuestTcp): Promise<number> {
  const piece = pattern(262_144);
  const taken = () => rig.gateway.flows()[0]!.upBytes;
  for (let written = piece.length;; written += piece.length) {
    await flow.write(piece);
    for (let before = -1, still = 0; taken() < written; before = taken()) {
      still = taken() === before ? still + 1 : 0;
      if (still > 20) return written;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

Deno.test("stop lets what is under way arrive; meanwhile nothing more is published", async () => {
  // However long the host takes.
  await using rig = await ControlRig.open({ hostLoopback: true, graceMs: 60_000 });
  const guest = await rig.attach();
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = host.accept();
  const flow = await guest.connect(GATEWAY4, host.addr.port);
  using peer = await accepted;
  const bytes = await writeUntilHeld(rig, flow);
  flow.finish();
  await rig.client.stop();
  const late = rig.client.publish({ hostPort: 0, guestPort: 80 });
  const error = await assertRejects(() => late, GatewayError) as GatewayError;
  assertEquals([error.code, error.message], [
    "control",
    "cannot publish a port: the gateway is stopping",
  ]);
  let total = 0;
  const buffer = new Uint8Array(65_536);
  for (;;) {
    const count = await peer.read(buffer).catch(() => null);
    if (count === null) break;
    total += count;
  }
  assertEquals(total, bytes);
  await rig.gateway.finished;
  await guest.close();
});
