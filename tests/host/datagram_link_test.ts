/** VMMs on a datagram socket: frames, greetings, newcomers, full buffers; real sockets at the end. */
import { assertEquals, assertRejects } from "@std/assert";
import { DatagramLink } from "../../lib/host/datagram_link.ts";
import { HalfDuplexSocket, type UnixDatagramSocket } from "../../lib/host/half_duplex_socket.ts";
import { meetVmm } from "../../lib/host/vmm_meeting.ts";
import { silentLogger } from "../../lib/config/logger.ts";
import { systemClock } from "../../lib/host/host_clock.ts";

const GREETING = new TextEncoder().encode("VFKT");

/** A socket whose datagrams the test puts in. */
class FakeSocket implements UnixDatagramSocket {
  readonly sent: { to: string; bytes: number[] }[] = [];
  /** What the next receives say. */
  readonly faults: Error[] = [];
  /** Whether a send waits for ever; `lent` has what it was given. */
  isStuck = false;
  readonly lent: Uint8Array[] = [];
  /** What the next sends say instead of going through. */
  readonly failures: Error[] = [];
  readonly #waiting: [Uint8Array, string | null][] = [];
  #resolve: (() => void) | null = null;
  #closed = false;
  /** Whether a receive waits: nothing can be sent then. */
  #busy = false;

  put(path: string | null, ...octets: number[]): void {
    this.#waiting.push([Uint8Array.from(octets), path]);
    this.#resolve?.();
  }

  async receive(into: Uint8Array): Promise<[Uint8Array, Deno.Addr]> {
    if (this.#busy) throw new Deno.errors.Busy("Socket already in use");
    const fault = this.faults.shift();
    if (fault !== undefined) throw fault;
    this.#busy = true;
    while (this.#waiting.length === 0 && !this.#closed) {
      await new Promise<void>((resolve) => this.#resolve = resolve);
    }
    this.#busy = false;
    if (this.#closed) throw new Deno.errors.BadResource("closed");
    const [bytes, path] = this.#waiting.shift()!;
    into.set(bytes.subarray(0, into.length));
    const addr = { transport: "unixpacket", path } as unknown as Deno.Addr;
    return [into.subarray(0, Math.min(into.length, bytes.length)), addr];
  }

  send(datagram: Uint8Array, to: Deno.UnixAddr): Promise<number> {
    if (this.#busy) return Promise.reject(new Deno.errors.Busy("Socket already in use"));
    if (this.isStuck) {
      this.lent.push(datagram);
      return new Promise(() => {});
    }
    const failure = this.failures.shift();
    if (failure !== undefined) return Promise.reject(failure);
    this.sent.push({ to: to.path!, bytes: [...datagram] });
    return Promise.resolve(datagram.length);
  }

  close(): void {
    this.#closed = true;
    this.#resolve?.();
  }
}

function open(alive: Set<string> = new Set()) {
  const socket = new FakeSocket();
  let skippedMs = 0;
  const clock = {
    ...systemClock,
    now: () => skippedMs, // it stands otherwise: a stall makes no greeting a late one
    skip: (ms: number) => void (skippedMs += ms),
  };
  const turnedAway: string[] = [];
  const ends: string[] = [];
  const waker: UnixDatagramSocket = {
    receive: () => Promise.reject(new Error("nobody receives here")),
    send: () => {
      socket.put("/gateway.wake", 0);
      return Promise.resolve(1);
    },
    close: () => {},
  };
  const pair = { socket, path: "/gateway", waker, wakerPath: "/gateway.wake" };
  const link = new DatagramLink(new HalfDuplexSocket(pair), {
    clock,
    isAlive: (path) => Promise.resolve(alive.has(path)),
    whyNot: (path) => path.startsWith("/") ? null : `${path} is nowhere`,
    onTurnedAway: (why) => turnedAway.push(why),
    onEnd: () => ends.push("ended"),
  });
  return { socket, link, clock, ends, turnedAway, into: new Uint8Array(70_000) };
}

/** An error of the system with its code. */
function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

Deno.test("a datagram is a frame of the stream, and the other way round", async () => {
  const { socket, link, ends, into } = open();
  socket.put("/vmm", 1, 2, 3);
  const vmm = (await link.accept())!;
  assertEquals(await vmm.read(into), 7);
  assertEquals([...into.subarray(0, 7)], [0, 0, 0, 3, 1, 2, 3]);
  assertEquals(await vmm.write(Uint8Array.of(0, 0, 0, 2, 8, 9, 0, 0, 0, 1, 7)), 11);
  assertEquals(socket.sent, [{ to: "/vmm", bytes: [8, 9] }, { to: "/vmm", bytes: [7] }]);
  link.close();
  assertEquals(await link.accept(), null);
  socket.put("/vmm", 4);
  assertEquals(await vmm.read(into), 5, "the guest may end in order");
  await vmm.write(Uint8Array.of(0, 0, 0, 1, 6));
  assertEquals(socket.sent.at(-1), { to: "/vmm", bytes: [6] });
  assertEquals(ends, []);
  const reading = vmm.read(into);
  vmm.close();
  assertEquals(await reading, null);
  assertEquals(ends, ["ended"]);
});

Deno.test("a write that the VMM does not take is given up with the guest", async () => {
  const { socket, link } = open();
  socket.put("/vmm", 1);
  const vmm = (await link.accept())!;
  socket.isStuck = true;
  const bytes = Uint8Array.of(0, 0, 0, 1, 5);
  const writing = vmm.write(bytes);
  await new Promise((resolve) => setTimeout(resolve, 0));
  vmm.close();
  await writing;
  bytes.fill(0xee);
  assertEquals(socket.lent.map((frame) => [...frame]), [[5]], "what still goes out is a copy");
  link.close();
});

Deno.test("a receive that fails is no end, and a path where nobody can be answered no VMM", async () => {
  const { socket, link, turnedAway, into } = open();
  socket.faults.push(new Deno.errors.InvalidData("its path is no text"));
  socket.put("relative.sock", 1);
  socket.put("/vmm", 2);
  const vmm = (await link.accept())!;
  assertEquals(await vmm.read(into), 5);
  assertEquals(into[4], 2);
  assertEquals(turnedAway, ["its path is no text", "relative.sock is nowhere"]);
  link.close();
});

Deno.test("vfkit's greeting is no frame, and begins anew when it comes again", async () => {
  const { socket, link, clock, into } = open(new Set(["/vmm"]));
  socket.put("/vmm", ...GREETING);
  const first = (await link.accept())!;
  socket.put("/vmm", 1);
  assertEquals(await first.read(into), 5);
  socket.put("/vmm", ...GREETING); // so soon it is a guest's four octets
  assertEquals(await first.read(into), 8);
  clock.skip(1_000);
  socket.put("/vmm", ...GREETING);
  assertEquals(await first.read(into), null);
  const next = link.accept();
  first.close();
  const second = (await next)!;
  socket.put("/vmm", 2);
  assertEquals(await second.read(into), 5);
  assertEquals(into[4], 2);
  link.close();
});

Deno.test("a second VMM is turned away while the first one lives, and taken when it is gone", async () => {
  const alive = new Set(["/first"]);
  const { socket, link, turnedAway, into } = open(alive);
  socket.put("/first", 1);
  const first = (await link.accept())!;
  assertEquals(await first.read(into), 5);
  socket.put("/second", 2);
  socket.put("/first", 3);
  assertEquals(await first.read(into), 5);
  assertEquals(into[4], 3);
  assertEquals(turnedAway, ["a second VMM, at /second: one is attached already"]);
  alive.clear();
  socket.put("/second", 4);
  assertEquals(await first.read(into), null);
  first.close();
  const second = (await link.accept())!;
  assertEquals(await second.read(into), 5);
  assertEquals(into[4], 4);
  link.close();
});

Deno.test("a read of a VMM that was given up takes nothing of the next one", async () => {
  const { socket, link, into } = open();
  socket.put("/vmm", 1);
  const first = (await link.accept())!;
  assertEquals(await first.read(into), 5);
  const waiting = first.read(into);
  first.close();
  assertEquals(await waiting, null);
  const next = link.accept();
  into.fill(0xee);
  socket.put("/vmm", 2);
  const second = (await next)!;
  const other = new Uint8Array(70_000);
  assertEquals(await second.read(other), 5);
  assertEquals(other[4], 2);
  assertEquals(into[4], 0xee);
  link.close();
});

Deno.test("a sender without a path, and one of too much, are turned away", async () => {
  const { socket, link, turnedAway, into } = open();
  socket.put(null, 1);
  socket.put("/vmm", ...new Uint8Array(65_551));
  socket.put("/vmm", 2);
  const vmm = (await link.accept())!;
  assertEquals(await vmm.read(into), 5);
  assertEquals(turnedAway, [
    "its socket has no path, so it can't be answered",
    "its datagram is longer than a frame can be",
  ]);
  link.close();
});

Deno.test("a send goes out while a read waits, and the read goes on", async () => {
  const { socket, link, into } = open();
  socket.put("/vmm", 1);
  const vmm = (await link.accept())!;
  assertEquals(await vmm.read(into), 5);
  const reading = vmm.read(into);
  await Promise.resolve();
  await vmm.write(Uint8Array.of(0, 0, 0, 1, 5));
  await vmm.write(Uint8Array.of(0, 0, 0, 1, 6));
  assertEquals(socket.sent.map(({ bytes }) => bytes), [[5], [6]]);
  socket.put("/vmm", 2);
  assertEquals(await reading, 5);
  assertEquals(into[4], 2);
  link.close();
});

Deno.test("a full buffer is waited for; a frame that is too long is lost alone", async () => {
  const { socket, link } = open();
  socket.put("/vmm", 1);
  const vmm = (await link.accept())!;
  socket.failures.push(failure("ENOBUFS"), failure("EAGAIN"), failure("ENOBUFS"));
  await vmm.write(Uint8Array.of(0, 0, 0, 1, 5));
  assertEquals(socket.sent.map(({ bytes }) => bytes), [[5]]);
  socket.failures.push(failure("EMSGSIZE"));
  await vmm.write(Uint8Array.of(0, 0, 0, 1, 6, 0, 0, 0, 1, 7));
  assertEquals(socket.sent.map(({ bytes }) => bytes), [[5], [7]]);
  link.close();
});

Deno.test("a send says why it fails: the VMM is gone, or Deno may not write its socket", async () => {
  const { socket, link } = open();
  socket.put("/vmm", 1);
  const vmm = (await link.accept())!;
  socket.failures.push(new Deno.errors.ConnectionRefused("nobody"));
  await assertRejects(() => vmm.write(Uint8Array.of(0, 0, 0, 1, 5)), Error, "nobody");
  socket.failures.push(new Deno.errors.NotCapable("no"));
  const frame = Uint8Array.of(0, 0, 0, 1, 5);
  await assertRejects(() => vmm.write(frame), Error, "add --allow-read=/vmm --allow-write=/vmm");
  link.close();
});

Deno.test("on real sockets: private file, stale one replaced, live one respected, removed at the end", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const endpoint = { transport: "unixgram", path: `${folder}/gateway.sock` } as const;
    const meeting = await meetVmm(endpoint, silentLogger);
    assertEquals(Deno.statSync(endpoint.path).mode! & 0o777, 0o600);
    await assertRejects(() => meetVmm(endpoint, silentLogger), Error, "a live process serves it");
    const vmm = Deno.listenDatagram({ transport: "unixpacket", path: `${folder}/vmm.sock` });
    await vmm.send(Uint8Array.of(1, 2), { transport: "unixpacket", path: endpoint.path });
    const transport = (await meeting.accept())!;
    const into = new Uint8Array(70_000);
    assertEquals(await transport.read(into), 6);
    await transport.write(Uint8Array.of(0, 0, 0, 1, 9));
    const [answer] = await vmm.receive(new Uint8Array(10));
    assertEquals([...answer], [9]);
    vmm.close();
    await assertRejects(() => transport.write(Uint8Array.of(0, 0, 0, 1, 9)));
    transport.close();
    meeting.close();
    meeting.close();
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["vmm.sock"]);

    const left = Deno.listenDatagram({ transport: "unixpacket", path: endpoint.path });
    left.close(); // its file stays
    (await meetVmm(endpoint, silentLogger)).close();
    await Deno.writeTextFile(endpoint.path, "a file");
    await assertRejects(() => meetVmm(endpoint, silentLogger), Error, "a file is in the way");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
