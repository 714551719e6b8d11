/** One VMM after another: who is served, who is turned away, and who is not tried any more. */
import { assertEquals, assertMatch } from "@std/assert";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import type { FrameTransport } from "../../lib/host/frame_transport.ts";
import { acceptVmms, connectToVmms, type VmmSlot } from "../../lib/host/vmm_arrivals.ts";
import type { VmmMeeting } from "../../lib/host/vmm_meeting.ts";

/** A VMM that says nothing. */
class Vmm implements FrameTransport {
  isClosed = false;
  read = () => Promise.resolve(null);
  write = (bytes: Uint8Array) => Promise.resolve(bytes.length);
  close = () => void (this.isClosed = true);
}

/** A slot that is free, and who got it. */
class Slot implements VmmSlot {
  readonly served: FrameTransport[] = [];
  isTaken = () => Promise.resolve(false);
  untilFree = () => Promise.resolve();
  take(conn: FrameTransport): ReturnType<VmmSlot["take"]> {
    this.served.push(conn);
    return { linkLost: () => Promise.resolve() };
  }
}

/** Where VMMs stand in a row. */
function meeting(vmms: readonly FrameTransport[]): VmmMeeting {
  const waiting = [...vmms];
  return {
    endpoint: { transport: "unix", path: "/vm.sock" },
    accept: () => Promise.resolve(waiting.shift() ?? null),
    close: () => {},
  };
}

function logOf(): { logger: GatewayLogger; lines: string[] } {
  const lines: string[] = [];
  return { logger: { ...silentLogger, warn: (line) => void lines.push(line) }, lines };
}

Deno.test("VMMs that come are served one after another, until the socket is closed", async () => {
  const vmms = [new Vmm(), new Vmm()];
  const slot = new Slot();
  await acceptVmms(meeting(vmms), slot, new AbortController().signal, silentLogger);
  assertEquals(slot.served, vmms);
  assertEquals(vmms.map(({ isClosed }) => isClosed), [false, false]);
});

Deno.test("a VMM that comes while another is served is turned away, and the log says so", async () => {
  const vmms = [new Vmm(), new Vmm(), new Vmm()];
  const slot = new Slot();
  slot.isTaken = () => Promise.resolve(slot.served.length === 1);
  const { logger, lines } = logOf();
  await acceptVmms(meeting(vmms), slot, new AbortController().signal, logger);
  assertEquals(slot.served, vmms.slice(0, 1));
  assertEquals(vmms.map(({ isClosed }) => isClosed), [false, true, true]);
  assertEquals(lines.length, 2);
  assertMatch(lines[0]!, /^a second VMM was turned away/);
});

Deno.test("a VMM that comes at the very end is let go, and nobody after it is asked for", async () => {
  const vmms = [new Vmm(), new Vmm()];
  const slot = new Slot();
  const stop = new AbortController();
  slot.isTaken = () => {
    stop.abort();
    return Promise.resolve(false);
  };
  await acceptVmms(meeting(vmms), slot, stop.signal, silentLogger);
  assertEquals(slot.served, []);
  assertEquals(vmms.map(({ isClosed }) => isClosed), [true, false]);
});

Deno.test("a VMM that is not there is warned of once, however often it is tried", async () => {
  const folder = await Deno.makeTempDir({ prefix: "vgarrivals-" });
  const path = `${folder}/vm.sock`;
  const stop = new AbortController();
  const { logger, lines } = logOf();
  const slot = new Slot();
  slot.take = (conn) => {
    conn.close();
    stop.abort();
    return null;
  };
  const done = connectToVmms({ transport: "unix", path }, slot, stop.signal, logger);
  // At least two tries: the second one comes a twentieth of a second after the first.
  while (lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 100));
  const listener = Deno.listen({ transport: "unix", path });
  const accepting = listener.accept();
  await done;
  (await accepting).close();
  listener.close();
  await Deno.remove(folder, { recursive: true });
  assertEquals(lines.length, 1);
  assertMatch(lines[0]!, /; trying again until it is there$/);
});

Deno.test("a VMM that is reached while the guest before it leaves is let go where all ends", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const stop = new AbortController();
  const slot = new Slot();
  slot.untilFree = () => Promise.resolve(stop.abort());
  const accepting = listener.accept();
  const endpoint = { transport: "tcp", hostname: "127.0.0.1", port } as const;
  await connectToVmms(endpoint, slot, stop.signal, silentLogger);
  using vmm = await accepting;
  assertEquals(await vmm.read(new Uint8Array(1)), null);
  assertEquals(slot.served, []);
  listener.close();
});
