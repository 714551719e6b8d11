import { assertEquals } from "@std/assert";
import { type Handshake, UnansweredHandshakes } from "../../../lib/stack/tcp/unanswered.ts";

class Entry implements Handshake<Entry> {
  waitPrevious: Entry | null = null;
  waitNext: Entry | null = null;
  readonly synSentMs: number;

  constructor(synSentMs: number) {
    this.synSentMs = synSentMs;
  }
}

function setUp(...sentMs: number[]) {
  const handshakes = new UnansweredHandshakes<Entry>();
  const entries = sentMs.map((ms) => new Entry(ms));
  for (const entry of entries) handshakes.push(entry);
  return { handshakes, entries };
}

Deno.test("silence is judged in two steps", () => {
  const { handshakes, entries } = setUp(0);
  assertEquals(handshakes.forsaken(499), null);
  assertEquals(handshakes.forsaken(500), null);
  assertEquals(handshakes.forsaken(549), null);
  assertEquals(handshakes.forsaken(550), entries[0]);
});

Deno.test("a suspicion is held against nobody who came after it", () => {
  const { handshakes, entries } = setUp(0);
  assertEquals(handshakes.forsaken(600), null);
  handshakes.remove(entries[0]!);
  const late = new Entry(8_000);
  handshakes.push(late);
  assertEquals(handshakes.forsaken(8_700), null);
  assertEquals(handshakes.forsaken(8_750), late);
});

Deno.test("whoever answers the oldest one now and then does not keep the others for long", () => {
  const { handshakes, entries } = setUp(...Array.from({ length: 100 }, () => 0));
  for (let i = 0; i < 7; i++) {
    handshakes.answered(entries[i]!, 400 * (i + 1));
    assertEquals(handshakes.forsaken(400 * (i + 1)), null);
  }
  assertEquals(handshakes.forsaken(2_999), null);
  assertEquals(handshakes.forsaken(3_000), entries[7]);
});

Deno.test("whoever answered a later one has passed over the earlier ones", () => {
  const { handshakes, entries } = setUp(0, 50, 150, 249);
  handshakes.answered(entries[2]!, 160);
  assertEquals(handshakes.forsaken(160), entries[0]);
  handshakes.remove(entries[0]!);
  assertEquals(handshakes.forsaken(160), entries[1]);
  handshakes.remove(entries[1]!);
  assertEquals(handshakes.forsaken(260), null);
});
