import { assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { withoutParams } from "../../lib/dns/service_binding.ts";
import { name, two } from "./messages.ts";

type Param = readonly [key: number, value: readonly number[]];

function binding(params: readonly Param[], priority = 1, target = ""): Uint8Array {
  return Uint8Array.from([
    ...two(priority),
    ...name(target),
    ...params.flatMap(([key, value]) => [...two(key), ...two(value.length), ...value]),
  ]);
}

const HINT4: Param = [4, [192, 0, 2, 1]];
const ECH: Param = [5, [1, 2, 3]];
const HINT6: Param = [6, new Array(16).fill(1)];
const ALPN: Param = [1, [2, 104, 50]];
const isHint = (key: number) => key >= 4 && key <= 6;

/** Keys that are mandatory, as a parameter. */
const mandatory = (...keys: number[]): Param => [0, keys.flatMap(two)];

Deno.test("withoutParams() gives the binding itself back where nothing has to go", () => {
  const bindings = [[], [ALPN], [mandatory(1), ALPN], [ALPN, [3, [1, 187]], [0xfffe, []]]];
  for (const params of bindings as Param[][]) {
    const data = binding(params, 1, "svc.example");
    assertStrictEquals(withoutParams(data, isHint), data);
  }
});

Deno.test("withoutParams() takes parameters out, in alias mode too", () => {
  const table: [Param[], Param[]][] = [
    [[HINT4], []],
    [[ALPN, HINT4, ECH, HINT6, [7, [9]]], [ALPN, [7, [9]]]],
    [[mandatory(1, 4), ALPN, HINT4], [mandatory(1), ALPN]],
    [[mandatory(4, 5, 6), HINT4, ECH, HINT6], []],
    [[mandatory(1), ALPN, ECH], [mandatory(1), ALPN]],
  ];
  for (const [before, after] of table) {
    for (const priority of [0, 1, 65_535]) {
      const data = binding(before, priority, "svc.example");
      assertEquals(withoutParams(data, isHint), binding(after, priority, "svc.example"));
    }
  }
});

Deno.test("withoutParams() judges by key and value", () => {
  const seen: unknown[] = [];
  withoutParams(binding([mandatory(1), ALPN, HINT4]), (key, value) => {
    seen.push([key, [...value]]);
    return false;
  });
  assertEquals(seen, [ALPN, HINT4].map(([key, value]) => [key, [...value]]));
});

Deno.test("withoutParams() is null for a malformed binding (RFC 9460 section 2.2)", () => {
  const malformed: [string, Uint8Array][] = [
    ["empty", new Uint8Array(0)],
    ["priority alone", Uint8Array.of(0, 1)],
    ["cut in the target", binding([], 1, "svc.example").subarray(0, 5)],
    ["compressed target", Uint8Array.of(0, 1, 0xc0, 0)],
    ["keys out of order", binding([HINT4, ALPN])],
    ["a key twice", binding([ALPN, ALPN])],
    ["cut in a key", Uint8Array.from([...binding([ALPN]), 0, 4, 0])],
    ["length too large", Uint8Array.from([...binding([ALPN]), 0, 4, 0, 1])],
    ["mandatory without keys", binding([mandatory()])],
    ["half a mandatory key", binding([[0, [0]]])],
  ];
  for (const [what, data] of malformed) assertEquals(withoutParams(data, isHint), null, what);
});

Deno.test("withoutParams() leaves a well-formed binding, and nothing to do the second time", () => {
  const param = fc.tuple(fc.nat(9), fc.array(fc.nat(255), { maxLength: 8 }));
  const params = fc.uniqueArray(param, { selector: ([key]) => key, maxLength: 6 }).map((list) =>
    list.filter(([key, value]) => key !== 0 || (value.length > 0 && value.length % 2 === 0))
      .sort(([one], [other]) => one - other)
  );
  fc.assert(fc.property(params, (list) => {
    const once = withoutParams(binding(list), isHint)!;
    assertStrictEquals(withoutParams(once, isHint), once);
    const others = list.filter(([key]) => key > 6 || (key > 0 && key < 4));
    const kept: Param[] = [];
    withoutParams(once, (key, value) => kept.push([key, [...value]]) < 0);
    assertEquals(kept, others);
  }));
});
