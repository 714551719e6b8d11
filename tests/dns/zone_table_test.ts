import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ZoneTable } from "../../lib/dns/zone_table.ts";

const table = new ZoneTable([["Corp.example.", 1], ["lab.corp.example", 2], ["test", 3]]);

Deno.test("ZoneTable finds the longest zone that ends a name at a label's boundary", () => {
  const cases: [string, number | undefined][] = [
    ["corp.example", 1],
    ["db.corp.example", 1],
    ["lab.corp.example", 2],
    ["a.b.lab.corp.example", 2],
    ["xlab.corp.example", 1],
    ["badcorp.example", undefined],
    ["x\\.corp.example", undefined],
    ["example", undefined],
    ["a.test", 3],
    ["test.a", undefined],
    ["", undefined],
  ];
  for (const [name, value] of cases) assertEquals(table.find(name)?.value, value, name);
  assertEquals(table.find("x.corp.example")?.name, "corp.example");
  assertEquals([table.size, new ZoneTable([]).find("a.b")], [3, null]);
});

Deno.test("ZoneTable agrees with a search through all zones", () => {
  const label = fc.constantFrom("a", "b", "c");
  const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join("."));
  fc.assert(fc.property(fc.uniqueArray(name, { maxLength: 8 }), name, (zones, asked) => {
    const found = zones.filter((zone) => asked === zone || asked.endsWith(`.${zone}`))
      .sort((one, other) => other.length - one.length)[0];
    assertEquals(new ZoneTable(zones.map((zone) => [zone, zone])).find(asked)?.value, found);
  }));
});

Deno.test("ZoneTable takes host names only", () => {
  assertThrows(() => new ZoneTable([["*.x", 1]]), RangeError, "*.x");
});
