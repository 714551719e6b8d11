/** Which downloads read their hosts, and that each of them does in the end. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type HostReader, ReadTurns } from "../../lib/host/read_turns.ts";

/** A download. */
class Download implements HostReader {
  awaitsRoom = false;
  readonly name: string;
  readonly #reads: string[];
  /** What it does in its turn. */
  onTurn = (): void => {};

  constructor(name: string, reads: string[]) {
    this.name = name;
    this.#reads = reads;
  }

  readHost(): void {
    this.#reads.push(this.name);
    this.onTurn();
  }
}

/** Turns whose event loop is turned by hand. */
class Rig {
  /** Whose turn it was. */
  readonly reads: string[] = [];
  readonly turns = new ReadTurns({ soon: (task) => void this.#due.push(task) });
  #due: (() => void)[] = [];

  download(name: string): Download {
    return new Download(name, this.reads);
  }

  /** So many that have read and can't send. */
  crowd(count: number): Download[] {
    const downloads = Array.from({ length: count }, (_, i) => this.download(`ahead ${i}`));
    for (const download of downloads) {
      download.awaitsRoom = true;
      this.turns.hasRead(download);
    }
    return downloads;
  }

  /** Downloads that wait, in this order, behind one that has sent all by now. */
  queue(...names: string[]): Download[] {
    const ahead = this.crowd(1);
    const downloads = names.map((name) => this.download(name));
    for (const download of downloads) assertEquals(this.turns.ask(download), false);
    for (const download of ahead) download.awaitsRoom = false;
    return downloads;
  }

  /** One pass of the event loop; whether it had something to do. */
  pass(): boolean {
    const due = this.#due.splice(0);
    for (const task of due) task();
    return due.length > 0;
  }
}

Deno.test("a download reads at once while no other one waits to send", () => {
  const rig = new Rig();
  const [alone] = rig.crowd(1);
  assertEquals(rig.turns.ask(alone!), true, "itself does not count");
  assertEquals(rig.turns.ask(rig.download("a")), false);
  assertEquals(rig.turns.waiting, 1);
  assertEquals(rig.turns.ask(alone!), false, "now others wait");
});

Deno.test("one that has sent what it had read holds nobody up", () => {
  const rig = new Rig();
  const ahead = rig.crowd(100);
  assertEquals(rig.turns.ask(rig.download("a")), false);
  for (const download of ahead.slice(1)) download.awaitsRoom = false;
  rig.turns.next();
  assertEquals(rig.reads, []);
  ahead[0]!.awaitsRoom = false;
  rig.turns.next();
  assertEquals(rig.reads, ["a"]);
});

Deno.test("who asks later stands behind those who wait, even if nobody is ahead", () => {
  const rig = new Rig();
  rig.queue("a");
  assertEquals(rig.turns.ask(rig.download("b")), false);
  rig.turns.next();
  rig.turns.next();
  assertEquals(rig.reads, ["a", "b"]);
});

Deno.test("a turn lets one read, and none while one is ahead", () => {
  const rig = new Rig();
  rig.queue("a", "b", "c");
  const [first] = rig.crowd(1);
  rig.turns.next();
  assertEquals(rig.reads, []);
  first!.awaitsRoom = false;
  rig.turns.next();
  assertEquals(rig.reads, ["a"]);
  first!.awaitsRoom = true;
  rig.turns.hasRead(first!);
  rig.turns.next();
  assertEquals(rig.reads, ["a"]);
  first!.awaitsRoom = false;
  rig.turns.next();
  assertEquals(rig.reads, ["a", "b"]);
});

Deno.test("hosts with nothing to read hold nobody up, though no turn comes", () => {
  const rig = new Rig();
  const names = Array.from({ length: 9 }, (_, i) => `${i}`);
  rig.queue(...names);
  rig.turns.next();
  while (rig.pass());
  assertEquals(rig.reads, names);
});

Deno.test("whoever asks while nobody is ahead has its turn without another word", () => {
  const rig = new Rig();
  rig.queue("a");
  rig.turns.ask(rig.download("b"));
  while (rig.pass());
  assertEquals(rig.reads, ["a", "b"]);
});

Deno.test("no pass of the event loop is spent while one is ahead", () => {
  const rig = new Rig();
  rig.crowd(1);
  rig.turns.ask(rig.download("a"));
  assertEquals(rig.pass(), false);
  rig.turns.next();
  assertEquals(rig.pass(), false);
});

Deno.test("who asks again in its own turn goes to the end", () => {
  const rig = new Rig();
  const [greedy] = rig.queue("greedy", "a", "b");
  greedy!.onTurn = () => void rig.turns.ask(greedy!);
  for (let i = 0; i < 4; i++) rig.turns.next();
  assertEquals(rig.reads, ["greedy", "a", "b", "greedy"]);
});

Deno.test("in whatever order they ask, read, send and leave, none is forgotten", () => {
  const what = fc.constantFrom("ask", "read", "send", "leave", "turn");
  const step = fc.record({ which: fc.nat(9), what });
  fc.assert(fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
    const rig = new Rig();
    let waiting: string[] = [];
    const ahead = new Set<Download>();
    const downloads = Array.from({ length: 10 }, (_, i) => rig.download(`${i}`));
    for (const { which, what } of steps) {
      const download = downloads[which]!;
      const before = rig.reads.length;
      const others = [...ahead].filter((other) => other !== download).length;
      if (what === "leave") {
        rig.turns.leave(download);
        ahead.delete(download);
        download.awaitsRoom = false;
        waiting = waiting.filter((name) => name !== download.name);
      } else if (what === "ask") {
        const may = rig.turns.ask(download);
        assertEquals(may, waiting.length === 0 && others === 0);
        if (!may && !waiting.includes(download.name)) waiting.push(download.name);
      } else if (what === "read") {
        download.awaitsRoom = true;
        rig.turns.hasRead(download);
        ahead.add(download);
      } else if (what === "send") {
        download.awaitsRoom = false;
        ahead.delete(download);
      } else {
        rig.turns.next();
        assertEquals(rig.reads.slice(before), waiting.splice(0, ahead.size === 0 ? 1 : 0));
      }
      assertEquals(rig.turns.waiting, waiting.length);
    }
    for (const download of downloads) download.awaitsRoom = false;
    rig.turns.next();
    while (rig.pass());
    assertEquals(rig.turns.waiting, 0);
  }));
});
