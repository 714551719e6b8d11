/** gvproxy's zones as Go reads them, and own names as zones. */
import { assertEquals, assertThrows } from "@std/assert";
import { ControlFault } from "../../lib/control/control_fault.ts";
import { readZone, zonesOf } from "../../lib/control/gvproxy_zones.ts";
import type { OwnName } from "../../lib/host/guest_names.ts";
import { formatIp } from "../../lib/wire/address.ts";

function read(body: unknown) {
  const { zone, names, others } = readZone(body);
  const texts = [...names].map(([name, list]) => `${name} ${list.map(formatIp).join(" ")}`);
  return [zone, texts, others.map(formatIp)];
}

Deno.test("a zone is read with keys in any case, and what is not known is nothing", () => {
  assertEquals(read({ Name: "a.test." }), ["a.test", [], []]);
  assertEquals(read({ name: "a.test", records: null, DefaultIP: "", Other: 1 }), [
    "a.test",
    [],
    [],
  ]);
  const record = { name: "db", ip: "10.0.0.5", Regexp: null, ttl: 9 };
  assertEquals(read({ NAME: "A.Test.", rEcOrDs: [record], defaultip: "fd00::1" }), [
    "a.test",
    ["db.a.test 10.0.0.5"],
    ["fd00::1"],
  ]);
  assertEquals(read({ Name: "b.test.", name: "a.test." })[0], "a.test", "the last counts");
});

Deno.test("of a name's addresses the first of each family counts, as gvproxy answers with one", () => {
  const Records = ["10.0.0.1", "fd00::1", "10.0.0.2"].map((IP) => ({ Name: "x.y", IP }));
  assertEquals(read({ Name: "a.test.", Records })[1], ["x.y.a.test 10.0.0.1 fd00::1"]);
});

Deno.test("what is no zone is refused with its place, a regular expression as not supported", () => {
  const zone = (record: unknown) => ({ Name: "a.test.", Records: [record] });
  const bad: [body: unknown, code: string, message: string][] = [
    [[], "invalid", "the body is no object"],
    [null, "invalid", "the body is no object"],
    [{}, "invalid", '"Name" is no zone'],
    [{ Name: "." }, "invalid", '"Name" is no zone'],
    [{ Name: "*.a.test" }, "invalid", '"Name" is no zone'],
    [{ Name: 7 }, "invalid", '"Name" is no text'],
    [{ Name: "a.test.", Records: {} }, "invalid", '"Records" is no list'],
    [{ Name: "a.test.", DefaultIP: "10.0.0" }, "invalid", '"DefaultIP" is no address'],
    [zone("db"), "invalid", "Records[0] is no object"],
    [
      zone({ Name: "", IP: "10.0.0.1" }),
      "invalid",
      '"Records[0].Name" is no name without its zone',
    ],
    [
      zone({ Name: "*", IP: "10.0.0.1" }),
      "invalid",
      '"Records[0].Name" is no name without its zone',
    ],
    [
      zone({ Name: "a.", IP: "10.0.0.1" }),
      "invalid",
      '"Records[0].Name" is no name without its zone',
    ],
    [zone({ Name: "db" }), "invalid", '"Records[0].IP" is no address'],
    [zone({ Name: "db", IP: 7 }), "invalid", '"Records[0].IP" is no text'],
    [
      zone({ Regexp: "^db-.*", IP: "10.0.0.1" }),
      "unsupported",
      "names by regular expression are not answered here: write each out, or give all others of " +
      "the zone a DefaultIP",
    ],
  ];
  for (const [body, code, message] of bad) {
    const fault = assertThrows(() => readZone(body), ControlFault) as ControlFault;
    assertEquals([fault.code, fault.message], [code, message]);
  }
});

Deno.test("names are said in their local zone, else in what is behind their first dot", () => {
  const own = (name: string, ...ips: string[]): OwnName => ({
    name,
    records: ips.map((data) => ({
      type: data.includes(":") ? "AAAA" : "A",
      data,
      ttlSeconds: 60,
    })),
  });
  const names = [
    own("x.y.a.test", "10.0.0.1", "fd00::1"),
    own("*.a.test", "10.0.0.2"),
    own("x.y.b.test", "10.0.0.3"),
    own("a.test", "10.0.0.4"),
    own("nothing.a.test"),
    own("alone", "10.0.0.5"),
  ];
  assertEquals(zonesOf(names, ["a.test", "empty.test"]), [
    {
      Name: "a.test.",
      Records: [{ Name: "x.y", IP: "10.0.0.1", Regexp: null }, {
        Name: "x.y",
        IP: "fd00::1",
        Regexp: null,
      }],
      DefaultIP: "10.0.0.2",
    },
    { Name: "y.b.test.", Records: [{ Name: "x", IP: "10.0.0.3", Regexp: null }], DefaultIP: "" },
    { Name: "test.", Records: [{ Name: "a", IP: "10.0.0.4", Regexp: null }], DefaultIP: "" },
    { Name: ".", Records: [{ Name: "alone", IP: "10.0.0.5", Regexp: null }], DefaultIP: "" },
    { Name: "empty.test.", Records: [], DefaultIP: "" },
  ]);
});
