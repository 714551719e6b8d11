/**
 * The link is cut amid transfers, between frames and inside one, and comes back: everything of the
 * guest is freed, the next one is served, whoever of the two listens.
 */
import { assert, assertEquals } from "@std/assert";
import type { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { bulkServer } from "../guest/host_servers.ts";
import { sendRequest } from "../guest/bulk.ts";
import { until } from "../guest/program.ts";
import {
  assertEchoes,
  attachGuest,
  EchoHost,
  FaultGateway,
  GATEWAY,
  PATIENCE_MS,
  pause,
} from "./fault_gateway.ts";

const ENDLESS = 1e12;

/** A VMM's end of the link that can be cut, also with half of the next write on its way. */
class CutLink {
  readonly #conn: Deno.Conn;
  #cutsInside = false;
  writtenBytes = 0;
  readBytes = 0;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  async read(into: Uint8Array): Promise<number | null> {
    const count = await this.#conn.read(into);
    this.readBytes += count ?? 0;
    return count;
  }

  async write(bytes: Uint8Array): Promise<number> {
    if (!this.#cutsInside) {
      const count = await this.#conn.write(bytes);
      this.writtenBytes += count;
      return count;
    }
    // Of the last frame one byte is kept back, so that the end is inside it.
    for (let at = 0; at < bytes.length - 1;) at += await this.#conn.write(bytes.subarray(at, -1));
    this.close();
    throw new Deno.errors.BrokenPipe("cut");
  }

  /** Cuts the link now, or inside the next frame of the guest. */
  cut(inside: boolean): void {
    if (inside) this.#cutsInside = true;
    else this.close();
  }

  close(): void {
    this.#conn.close();
  }
}

/** Starts transfers both ways, and waits until both move. */
async function transfer(guest: EmbeddedGuest, link: CutLink, port: number): Promise<void> {
  const up = await guest.connect(GATEWAY, port);
  const down = await guest.connect(GATEWAY, port);
  const broken = (error: unknown) => {
    if (!(error instanceof GuestError)) throw error;
  };
  const block = new Uint8Array(64 * 1024);
  const sending = async () => {
    await sendRequest(sender(up), { verb: "upload", bytes: ENDLESS });
    for (;;) await up.write(block);
  };
  const receiving = async () => {
    await sendRequest(sender(down), { verb: "download", bytes: ENDLESS });
    const into = new Uint8Array(64 * 1024);
    while (await down.read(into) !== null);
  };
  sending().catch(broken);
  receiving().catch(broken);
  const isBusy = () => link.readBytes > 4e6 && link.writtenBytes > 4e6;
  await until("4 MB each way", isBusy, PATIENCE_MS);
}

function sender(flow: { write(data: Uint8Array): Promise<void> }) {
  return { write: (bytes: Uint8Array) => flow.write(bytes).then(() => bytes.length) };
}

/** Cuts one guest after another amid transfers; `meet` brings the next one's connection. */
async function cutAndCome(
  gateway: FaultGateway,
  rounds: number,
  meet: () => Promise<Deno.Conn>,
): Promise<void> {
  await using server = bulkServer("127.0.0.1");
  await using echo = new EchoHost();
  const atStart = await gateway.descriptors();
  for (let round = 0; round < rounds; round++) {
    const link = new CutLink(await meet());
    const guest = attachGuest(link as unknown as Deno.Conn);
    await guest.lease();
    await assertEchoes(await guest.connect(GATEWAY, echo.port));
    await transfer(guest, link, server.port);
    link.cut(round % 2 === 1);
    await guest.ended;
    await gateway.line(/^guest left$/, round + 1);
    const { flows, timers } = gateway.said(/^guest left$/)[round]!;
    assertEquals([flows, timers], [0, 0], `round ${round}`);
    await gateway.countersOfLast(round + 1);
  }
  const isBack = async () => await gateway.descriptors() <= atStart;
  await until("descriptors are back", isBack, PATIENCE_MS);
  await until("hosts have lost their peers", () => echo.connections === 0, PATIENCE_MS);
  const guest = attachGuest(await meet());
  await guest.lease();
  await assertEchoes(await guest.connect(GATEWAY, echo.port), 200_000);
  await guest.close();
}

Deno.test("a link is cut and comes back, the gateway listening", async () => {
  await using gateway = await FaultGateway.start({ args: ["--host-loopback"] });
  await cutAndCome(gateway, 4, () => Deno.connect({ transport: "unix", path: gateway.path }));
  await gateway.stop();
});

Deno.test("a link is cut and comes back, the VMM listening", async () => {
  await using gateway = await FaultGateway.start({ connects: true, args: ["--host-loopback"] });
  await gateway.line(/^cannot reach the VMM/);
  let vmm = Deno.listen({ transport: "unix", path: gateway.path });
  // At the end it has a link too: whoever listens is connected to, before anybody accepts.
  await gateway.line(/^guest attached$/);
  await cutAndCome(gateway, 2, () => vmm.accept());
  // The VMM is away for longer: that is said once, and waited for.
  vmm.close();
  await gateway.line(/^cannot reach the VMM/, 2);
  await pause(500);
  assertEquals(gateway.said(/^cannot reach the VMM/).length, 2);
  vmm = Deno.listen({ transport: "unix", path: gateway.path });
  const guest = attachGuest(await vmm.accept());
  await guest.lease();
  await guest.close();
  // One that takes connections only to end them is visited less and less often: not twenty times a
  // second.
  const startMs = performance.now();
  let visits = 0;
  const ending = (async () => {
    for await (const conn of vmm) {
      visits++;
      conn.close();
    }
  })();
  await until("the gateway has come again and again", () => visits >= 6, PATIENCE_MS);
  assert(performance.now() - startMs > 1_000, "six visits take longer than that");
  vmm.close();
  await ending;
  await gateway.stop();
});
