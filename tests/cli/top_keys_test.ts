/** What keys do to `top`. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  FIRST_STATE,
  KeyReader,
  pressKey,
  settle,
  type TopAction,
  type TopPlace,
  type TopState,
} from "../../lib/cli/top_keys.ts";
import { chosenFlows, flowKey, nextModel, type TopFlow } from "../../lib/cli/top_model.ts";
import { flowOf, sampleAt } from "./top_samples.ts";

const encoder = new TextEncoder();

const keysOf = (...chunks: string[]) => {
  const reader = new KeyReader();
  return [...chunks.flatMap((chunk) => reader.feed(encoder.encode(chunk))), ...reader.flush()];
};

Deno.test("bytes become keys, in whichever pieces they come", () => {
  assertEquals(keysOf("sq"), ["s", "q"]);
  assertEquals(keysOf("\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[H\x1bOF"), [
    ...["up", "down", "page-up", "page-down", "home", "end"],
  ]);
  assertEquals(keysOf("\x1b", "[", "A"), ["up"]);
  assertEquals(keysOf("\x03\x7f\x08\r\x15"), [
    ...["interrupt", "backspace", "backspace", "enter", "clear"],
  ]);
  assertEquals(keysOf("\x1b"), ["escape"]);
  assertEquals(keysOf("\x1b\x1b[A"), ["escape", "up"]);
  assertEquals(keysOf("\x1b["), ["escape", "["]);
  // Sequences, control characters and letters that mean nothing.
  assertEquals(keysOf("\x1b[1;5C\x1b[200~\x1bOP\x00\x1aüa"), ["a"]);
});

Deno.test("a lone escape waits for what follows it", () => {
  const reader = new KeyReader();
  assertEquals([reader.feed(encoder.encode("\x1b")), reader.isWaiting], [[], true]);
  assertEquals([reader.flush(), reader.isWaiting], [["escape"], false]);
});

Deno.test("no bytes stop the reading", () => {
  const bytes = fc.uint8Array({ maxLength: 40 });
  fc.assert(fc.property(fc.array(bytes, { maxLength: 5 }), (chunks) => {
    const reader = new KeyReader();
    for (const chunk of chunks) reader.feed(chunk);
    reader.flush();
    assertEquals(reader.isWaiting, false);
    assertEquals(reader.feed(encoder.encode("q")), ["q"]);
  }));
});

/** Some flows of which the first carry most. */
function flows(count: number): TopFlow[] {
  const infos = Array.from({ length: count }, (_, i) => flowOf(i + 1, { upBytes: 100 - i }));
  return nextModel(nextModel(null, sampleAt(0)), sampleAt(1, { flows: infos })).flows as TopFlow[];
}

/** A screen on which keys are pressed one by one. */
class Desk {
  state: TopState = FIRST_STATE;
  readonly actions: TopAction[] = [];

  constructor(public all: readonly TopFlow[], readonly pageRows = 3, readonly lastLine = 0) {
    this.settle();
  }

  get place(): TopPlace {
    const { pageRows, lastLine } = this;
    return { rows: chosenFlows(this.all, this.state), pageRows, pageLines: 5, lastLine };
  }

  settle(): void {
    this.state = settle(this.state, this.place);
  }

  press(...keys: string[]): this {
    for (const key of keys) {
      const { state, action } = pressKey(this.state, key, this.place);
      this.state = state;
      if (action !== undefined) this.actions.push(action);
      this.settle();
    }
    return this;
  }

  get marked(): number | undefined {
    return this.place.rows[this.state.row]?.info.id;
  }
}

Deno.test("q, Ctrl-C and Escape quit", () => {
  for (const key of ["q", "interrupt", "escape"]) {
    assertEquals(new Desk([]).press(key).actions, [{ kind: "quit" }]);
  }
});

Deno.test("Escape goes one step back before it quits, Ctrl-C does not", () => {
  const desk = new Desk(flows(2)).press("/", "x", "enter", "d", "escape");
  assertEquals([desk.state.screen, desk.state.filter, desk.actions], ["flows", "x", []]);
  desk.press("escape");
  assertEquals([desk.state.filter, desk.actions], ["", []]);
  desk.press("k", "escape");
  assertEquals([desk.state.prompt, desk.actions], [null, []]);
  assertEquals(desk.press("escape").actions, [{ kind: "quit" }]);
  assertEquals(new Desk([]).press("/", "interrupt").actions, [{ kind: "quit" }]);
});

Deno.test("s steps through the orders, r reverses, p pauses", () => {
  const desk = new Desk(flows(2));
  const seen = ["rate", "total", "age", "name", "rate"].map((sort) => {
    assertEquals(desk.state.sort, sort);
    return desk.press("s").state.sort;
  });
  assertEquals(seen, ["total", "age", "name", "rate", "total"]);
  assertEquals(desk.press("r").state.isReversed, true);
  assertEquals(desk.press("r", "p").state.isReversed, false);
  assertEquals([desk.state.isPaused, desk.press("p").state.isPaused], [true, false]);
});

Deno.test("the mark moves over the rows, and the rows with it", () => {
  const desk = new Desk(flows(10));
  const after = (...keys: string[]) => {
    desk.press(...keys);
    return [desk.marked, desk.state.firstRow];
  };
  assertEquals(after("up"), [1, 0]);
  assertEquals(after("down", "down", "down"), [4, 1]);
  assertEquals(after("page-down"), [7, 4]);
  assertEquals(after("end"), [10, 7]);
  assertEquals(after("page-down", "down"), [10, 7]);
  assertEquals(after("page-up"), [7, 6]);
  assertEquals(after("home"), [1, 0]);
});

Deno.test("the mark stays with its flow, and with its row where that has ended", () => {
  const desk = new Desk(flows(5)).press("down", "down");
  assertEquals([desk.marked, desk.state.row], [3, 2]);
  desk.press("r");
  assertEquals([desk.marked, desk.state.row], [3, 2]);
  desk.all = desk.all.slice(1);
  desk.settle();
  assertEquals([desk.marked, desk.state.row], [3, 2]);
  desk.all = desk.all.filter(({ info }) => info.id !== 3);
  desk.settle();
  assertEquals([desk.marked, desk.state.row], [2, 2]);
  desk.all = [];
  desk.settle();
  assertEquals([desk.marked, desk.state.row, desk.state.selected], [undefined, 0, null]);
});

Deno.test("without a move the first row is marked, whichever it is", () => {
  const desk = new Desk(flows(3));
  assertEquals(desk.marked, 1);
  assertEquals(desk.press("r").marked, 3);
  assertEquals(desk.press("down", "home", "r").marked, 1);
});

Deno.test("the table follows the filter while it is typed, and Escape takes it back", () => {
  const desk = new Desk(flows(12)).press("/", "4", "0", "0", "1", "0");
  assertEquals([desk.state.filter, desk.marked], ["40010", 10]);
  assertEquals(desk.press("backspace", "2").marked, 12);
  assertEquals(desk.press("enter").state.prompt, null);
  desk.press("/", "clear", "q", "escape");
  assertEquals([desk.state.filter, desk.state.prompt, desk.actions], ["40012", null, []]);
  desk.press("/", ..."x".repeat(200), "up", "page-down");
  assertEquals(desk.state.filter.length, 64);
});

Deno.test("k ends the flow that was marked then, after y and nothing else", () => {
  const desk = new Desk(flows(3)).press("down", "k");
  assertEquals(desk.state.prompt, "end");
  desk.press("n");
  assertEquals([desk.actions, desk.state.note], [[], "93.184.215.14:443 goes on"]);
  desk.press("k");
  const doomed = desk.all[1]!;
  desk.all = desk.all.toReversed().slice(0, 1);
  desk.settle();
  desk.press("y");
  assertEquals(desk.actions.length, 1);
  const [action] = desk.actions;
  assertEquals(action?.kind === "end" && flowKey(action.flow.info), flowKey(doomed.info));
  assertEquals([desk.state.prompt, desk.state.doomed], [null, null]);
});

Deno.test("k without a flow says so", () => {
  const desk = new Desk([]).press("k");
  assertEquals([desk.state.prompt, desk.state.note], [null, "no flow is marked"]);
  assertEquals(desk.press("down").state.note, "");
});

Deno.test("denials and the help scroll, and their keys take them away again", () => {
  const desk = new Desk(flows(3), 3, 10).press("d");
  assertEquals(desk.state.screen, "denials");
  assertEquals(desk.press("down", "page-down").state.firstLine, 5);
  assertEquals(desk.press("page-down", "page-down").state.firstLine, 10);
  assertEquals(desk.press("up").state.firstLine, 9);
  assertEquals(desk.press("?").state.firstLine, 0);
  assertEquals(desk.press("end").state.firstLine, 10);
  assertEquals(desk.press("home").state.firstLine, 0);
  assertEquals(desk.press("s", "k").state.prompt, null);
  assertEquals(desk.press("?").state.screen, "flows");
});

Deno.test("whatever is pressed, the mark and the first row are among the rows", () => {
  const keys = fc.constantFrom(
    ...["up", "down", "page-up", "page-down", "home", "end", "s", "r", "/", "0", "enter"],
    ...["escape", "k", "y", "n", "d", "?", "p", "g", "backspace", "clear", "less", "more"],
  );
  const sizes = fc.tuple(fc.nat(12), fc.nat(6));
  fc.assert(fc.property(sizes, fc.array(keys, { maxLength: 40 }), ([count, pageRows], pressed) => {
    const desk = new Desk(flows(count), pageRows, 4);
    for (const key of pressed) {
      if (key === "less") desk.all = desk.all.slice(1);
      else if (key === "more") desk.all = flows(count);
      desk.press(key);
      const { row, firstRow, firstLine } = desk.state;
      const rows = desk.place.rows.length;
      const isThere = row >= 0 && row < Math.max(1, rows) && firstRow >= 0 && firstRow <= row;
      const isShown = row < firstRow + Math.max(1, pageRows);
      assertEquals([isThere, isShown, firstLine >= 0 && firstLine <= 4], [true, true, true]);
    }
  }));
});

Deno.test("g shows the guests, Enter shows one; where there is one alone it says so", () => {
  const names = ["web", "db", "ci"];
  const place: TopPlace = { rows: [], pageRows: 0, pageLines: 2, lastLine: 0, guests: names };
  const press = (state: TopState, ...keys: string[]) => {
    let outcome: ReturnType<typeof pressKey> = { state };
    for (const key of keys) outcome = pressKey(outcome.state, key, place);
    return outcome;
  };
  const marked = { ...FIRST_STATE, selected: "7/1", row: 6, isPaused: true };
  const open = press(marked, "g");
  assertEquals([open.state.screen, open.action], ["guests", undefined]);
  const { state, action } = press(open.state, "down", "down", "down", "up", "enter");
  assertEquals(action, { kind: "guest", name: "db" });
  assertEquals([state.screen, state.selected, state.row, state.isPaused], [
    "flows",
    null,
    0,
    false,
  ]);
  assertEquals(press(open.state, "end").state.guestRow, 2);
  assertEquals(press(open.state, "page-down", "page-down", "home").state.guestRow, 0);
  for (const key of ["g", "escape"]) {
    const back = press(open.state, "down", key);
    assertEquals([back.state.screen, back.state.selected, back.action], [
      "flows",
      "7/1",
      undefined,
    ]);
  }
  for (const key of ["k", "s", "/", "x"]) {
    assertEquals(press(open.state, key), { state: open.state });
  }
  const { guests: _, ...lone } = place;
  const alone = pressKey(FIRST_STATE, "g", lone);
  assertEquals([alone.state.screen, alone.state.note], ["flows", "one guest alone is served"]);
});
