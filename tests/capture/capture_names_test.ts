/** Names out of answers, told once. */
import { assert, assertEquals } from "@std/assert";
import {
  answerNames,
  CaptureNames,
  NAMES_MAX,
  NAMES_MAX_BYTES,
} from "../../lib/capture/capture_names.ts";
import {
  interfaceBlock,
  joinBlocks,
  type NamedAddress,
  sectionBlock,
} from "../../lib/capture/pcapng.ts";
import { answerTo, name } from "../dns/messages.ts";
import { ip, u16 } from "../support/packets.ts";
import { readPcapng } from "./read_pcapng.ts";

const A = 1;
const CNAME = 5;

function question(text: string): Uint8Array {
  return Uint8Array.from([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name(text), ...u16(A), ...u16(1)]);
}

function namesIn(blocks: Uint8Array) {
  const head = interfaceBlock({ name: "", description: "", snapLength: 0, filter: "" });
  return readPcapng(joinBlocks([sectionBlock(""), head, blocks])).names;
}

Deno.test("capture names: an answer's addresses go by the name that was asked for", () => {
  const asked = question("Web.Test");
  const answer = answerTo(asked, {
    answers: [
      { owner: "web.test", type: CNAME, data: name("cdn.test") },
      { owner: "cdn.test", type: A, data: [10, 0, 0, 5] },
      { owner: "cdn.test", type: A, data: [10, 0, 0, 6] },
      { owner: "other.test", type: A, data: [10, 0, 0, 7] },
    ],
  });
  assertEquals(answerNames(answer), [
    { address: ip("10.0.0.5"), name: "web.test" },
    { address: ip("10.0.0.6"), name: "web.test" },
  ]);
  assertEquals(answerNames(asked), [], "a question says nothing");
  for (let bytes = 0; bytes < answer.length; bytes++) answerNames(answer.slice(0, bytes));
  assertEquals(answerNames(answer.slice(0, -1)), [], "nor does half an answer");
});

Deno.test("capture names: each is told once, and all again at the start of a file", () => {
  const names = new CaptureNames();
  const first: NamedAddress = { address: ip("10.0.0.5"), name: "a.test" };
  const second: NamedAddress = { address: ip("fd00::5"), name: "a.test" };
  assertEquals(names.blocks().length, 0);
  assertEquals(names.learn([first, second, first]), [first, second]);
  assertEquals(names.learn([first, { ...first, name: "b.test" }]).map(({ name }) => name), [
    "b.test",
  ]);
  assertEquals(namesIn(names.blocks()).map(({ names }) => names[0]), [
    "a.test",
    "a.test",
    "b.test",
  ]);
});

Deno.test("capture names: the oldest go, by their number and by their length", () => {
  const names = new CaptureNames();
  const named = (i: number, text = `n${i}.test`): NamedAddress => {
    return { address: Uint8Array.of(10, 0, i >> 8, i & 255), name: text };
  };
  names.learn(Array.from({ length: NAMES_MAX + 3 }, (_, i) => named(i)));
  const told = namesIn(names.blocks());
  assertEquals(told.length, NAMES_MAX);
  assertEquals(told[0]!.names, ["n3.test"]);
  assertEquals(names.learn([named(0)]).length, 1, "it was forgotten");
  names.learn(Array.from({ length: NAMES_MAX }, (_, i) => named(i, `${i}.`.padEnd(1_000, "x"))));
  const bytes = names.blocks().length;
  assert(bytes <= NAMES_MAX_BYTES && bytes > NAMES_MAX_BYTES / 2, String(bytes));
});
