/** A guest on two pipes: once, whole, and closed from either side. */
import { assertEquals, assertRejects } from "@std/assert";
import { StdioLink, type StdioPair } from "../../lib/host/stdio_link.ts";

function pipes() {
  const sent: number[] = [];
  const closed: string[] = [];
  let arrive: (count: number | null) => void = () => {};
  let room = new Uint8Array(0);
  const pair: StdioPair = {
    input: {
      read: (into) => {
        room = into as Uint8Array<ArrayBuffer>;
        return new Promise((resolve) => arrive = resolve);
      },
      close: () => void closed.push("input"),
    },
    output: {
      write: (bytes) => {
        sent.push(...bytes);
        return Promise.resolve(bytes.length);
      },
      close: () => void closed.push("output"),
    },
  };
  const bring = (octets: number[] | null): void => {
    if (octets !== null) room.set(octets);
    arrive(octets?.length ?? null);
  };
  return { pair, sent, closed, bring };
}

Deno.test("bytes come in at the one pipe and go out at the other, for one guest", async () => {
  const { pair, sent, closed, bring } = pipes();
  const link = new StdioLink(pair);
  const guest = (await link.accept())!;
  const into = new Uint8Array(8);
  const reading = guest.read(into);
  bring([1, 2, 3]);
  assertEquals([await reading, ...into.subarray(0, 3)], [3, 1, 2, 3]);
  assertEquals(await guest.write(Uint8Array.of(4, 5)), 2);
  assertEquals(sent, [4, 5]);
  const next = link.accept();
  guest.close();
  assertEquals(await next, null);
  assertEquals(closed, ["input", "output"]);
});

Deno.test("a link that is closed leaves its guest time to end, and a write that nobody reads ends with it", async () => {
  const { pair, closed, bring } = pipes();
  const link = new StdioLink({
    ...pair,
    output: { write: () => new Promise<number>(() => {}), close: pair.output.close },
  });
  const guest = (await link.accept())!;
  link.close();
  assertEquals(await link.accept(), null);
  assertEquals(closed, []);
  const into = new Uint8Array(8);
  const reading = guest.read(into);
  bring([1]);
  assertEquals(await reading, 1);
  const writing = guest.write(Uint8Array.of(1));
  guest.close();
  await assertRejects(() => writing, Error, "the pipe is closed");
  assertEquals(closed, ["input", "output"]);
});

Deno.test("the end of the input is the end of the guest", async () => {
  const { pair, bring } = pipes();
  const guest = (await new StdioLink(pair).accept())!;
  const reading = guest.read(new Uint8Array(8));
  bring(null);
  assertEquals(await reading, null);
});

Deno.test("a read that can't be cut short writes nothing into memory that was given back", async () => {
  const { pair, bring } = pipes();
  const guest = (await new StdioLink(pair).accept())!;
  const into = new Uint8Array(8);
  const reading = guest.read(into);
  guest.close();
  assertEquals(await reading, null);
  bring([9, 9, 9]);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals([...into], [0, 0, 0, 0, 0, 0, 0, 0]);
});
