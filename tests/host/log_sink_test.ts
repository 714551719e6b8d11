import { assertEquals } from "@std/assert";
import { type ByteSink, LogSink } from "../../lib/host/log_sink.ts";

/** A place for lines that fails, or takes nothing, when it is told to. */
class Place implements ByteSink {
  text = "";
  error: Error | null = null;
  /** Bytes that one write takes. */
  most = Infinity;
  #waiting: (() => void) | null = null;
  #isStuck = false;

  async write(bytes: Uint8Array): Promise<number> {
    if (this.#isStuck) await new Promise<void>((resolve) => this.#waiting = resolve);
    if (this.error !== null) throw this.error;
    const taken = bytes.subarray(0, this.most);
    this.text += new TextDecoder().decode(taken);
    return taken.length;
  }

  stick(): void {
    this.#isStuck = true;
  }

  unstick(): void {
    this.#isStuck = false;
    this.#waiting?.();
  }
}

const lostLine = (lines: number, why: string) => `lost ${lines}: ${why}`;

Deno.test("log sink: lines are written whole and in order", async () => {
  const place = new Place();
  place.most = 3;
  const sink = new LogSink(place, lostLine);
  for (const line of ["first", "second ü", ""]) sink.line(line);
  await sink.flush();
  assertEquals(place.text, "first\nsecond ü\n\n");
});

Deno.test("log sink: a full disk loses lines, and says so when there is room again", async () => {
  const place = new Place();
  const sink = new LogSink(place, lostLine);
  place.error = new Error("No space left on device");
  for (const line of ["a", "b"]) sink.line(line);
  await sink.flush();
  sink.line("c");
  await sink.flush();
  place.error = null;
  sink.line("d");
  await sink.flush();
  assertEquals(place.text, "lost 3: No space left on device\nd\n");
});

Deno.test("log sink: a line that was cut off is ended before the next one", async () => {
  let room = 3;
  let text = "";
  const sink = new LogSink({
    write: (bytes) => {
      if (room === 0) return Promise.reject(new Error("full"));
      const taken = bytes.subarray(0, room);
      room -= taken.length;
      text += new TextDecoder().decode(taken);
      return Promise.resolve(taken.length);
    },
  }, lostLine);
  sink.line("abcdef");
  await sink.flush();
  room = 100;
  sink.line("next");
  await sink.flush();
  assertEquals(text, "abc\nlost 1: full\nnext\n");
});

Deno.test("log sink: nothing is tried again for a reader that has gone", async () => {
  const place = new Place();
  const sink = new LogSink(place, lostLine);
  place.error = new Deno.errors.BrokenPipe("gone");
  sink.line("a");
  await sink.flush();
  place.error = null;
  sink.line("b");
  await sink.flush();
  assertEquals(place.text, "");
});

Deno.test("log sink: a reader that does not read holds nobody up, and the queue is bounded", async () => {
  const place = new Place();
  const sink = new LogSink(place, lostLine);
  place.stick();
  const line = "x".repeat(1024);
  for (let i = 0; i < 1000; i++) sink.line(line);
  await sink.flush();
  assertEquals(place.text, "");
  place.unstick();
  await sink.flush();
  const lines = place.text.trimEnd().split("\n");
  assertEquals(lines.filter((each) => each === line).length, 257); // one was on its way
  assertEquals(lines.find((each) => each !== line), "lost 743: they are not taken fast enough");
});
