/** `fleet policy …` against a real engine: what is written, shown, refused and said of gateways. */
import { assertEquals, assertMatch } from "@std/assert";
import { jetstream } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { policyBucket } from "../../lib/fleet/names.ts";
import { announcedGuest, announcement } from "../fleet/announcing.ts";
import { FleetRig } from "./fleet_rig.ts";

const TIME = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\dZ";
const RULES = "protect: strict\ndeny:\n  - metadata\n  - 10.0.0.0/8\nallow: [pypi.org]\n";

Deno.test("put shows what changes, writes it, and says where it is in force", async () => {
  await using rig = await FleetRig.start();
  await using _gateways = await rig.gateways(
    ["h1", "h2", "h10"].map((name) => announcement(name)),
  );
  const file = await rig.file("all.yaml", RULES);
  const first = await rig.ask("policy", "put", "fleet", file);
  assertEquals([first.code, first.stderr], [0, ""]);
  assertEquals(first.stdout.split("\n"), [
    "fleet is new: 3 rules added, protect set",
    "  + protect: strict",
    "  + deny metadata",
    "  + deny 10.0.0.0/8",
    "  + allow pypi.org",
    "written as revision 1",
    "in force at 3 of 3 gateways",
    "",
  ]);
  const again = await rig.heard(/ 3 of 3 /, { words: ["policy", "put", "fleet", file] });
  assertEquals(again.stdout.split("\n"), [
    "fleet: no rule changes",
    "fleet has this text already, since revision 1",
    "in force at 3 of 3 gateways",
    "",
  ]);
  const other = await rig.askWith(
    "protect: metadata\ndeny: [metadata]\n",
    ...["policy", "put", "fleet", "-", "--if-revision", "1", "--json"],
  );
  assertEquals([other.code, other.stderr], [0, ""]);
  const { gateways, ...outcome } = JSON.parse(other.stdout);
  assertEquals(outcome, {
    key: "fleet",
    revision: 2,
    written: true,
    changes: [
      { kind: "set", key: "protect", before: "strict", after: "metadata" },
      { kind: "removed", list: "deny", rule: "10.0.0.0/8" },
      { kind: "removed", list: "allow", rule: "pypi.org" },
    ],
  });
  assertEquals(gateways[2], { gateway: "h10", standing: "in force", revision: 2, why: null });
});

Deno.test("put names the gateways that have refused it and why, and those that are behind", async () => {
  await using rig = await FleetRig.start();
  await rig.put("fleet", "{}");
  const why = "guest h2: policy.deny: there are 20000 rules, at most 16384 (limits.policyRules)";
  await using _gateways = await rig.gateways(
    ["h1", "h2", "h3"].map((name) => announcement(name, { revision: 1, policy: "in force" })),
    (gateway) => () => {
      if (gateway === "h3") return {};
      return gateway === "h2"
        ? { policy: "rejected", rejected: { revision: 2, why } }
        : { revision: 2, policy: "in force" };
    },
  );
  const { code, stdout } = await rig.askWith("deny: [metadata]\n", "policy", "put", "fleet", "-");
  assertEquals(code, 1);
  assertEquals(stdout.split("\n").slice(2), [
    "written as revision 2",
    "in force at 1 of 3 gateways",
    `rejected at h2: ${why}`,
    "not yet at h3",
    "",
  ]);
});

Deno.test("put waits only for gateways whose guests have the document", async () => {
  await using rig = await FleetRig.start();
  await using _gateways = await rig.gateways([
    announcement("h1", { guests: [announcedGuest("web", { group: "ci" })] }),
    announcement("h2"),
  ]);
  const stdin = "deny: [metadata]";
  await rig.heard(/^in force at 1 of 1 gateway$/m, {
    stdin,
    words: ["policy", "put", "group.ci", "-"],
  });
  await rig.heard(/^none of the 2 gateways that have answered has a guest of guest\.db$/m, {
    stdin,
    words: ["policy", "put", "guest.db", "-"],
  });
});

Deno.test("what is malformed or closes everything by mistake is not written", async () => {
  await using rig = await FleetRig.start();
  const bad = await rig.file("bad.yaml", "deny: [metadata]\nalow: [a.test]\nallow: ['a.test:0']\n");
  const malformed = await rig.ask("policy", "put", "fleet", bad);
  assertEquals([malformed.code, malformed.stdout], [2, ""]);
  assertEquals(malformed.stderr.split("\n"), [
    `${bad}:2:1 unknown key "alow"; did you mean "allow"?`,
    `${bad}:3:9 allow: "a.test:0": port 0 is none; ports are 1 to 65535`,
    "",
  ]);
  const cases: [text: string, message: string][] = [
    ["", "stdin:1:1 the document is empty; write {} for one that says nothing"],
    [
      "- a\n",
      "stdin:1:1 the document is no mapping of keys such as protect, allow, deny, " +
      "denyPage, ech, closed",
    ],
    [
      "deny: [0.0.0.0/0, '::/0']\n",
      "fleet closes everything: nothing is left that a guest could reach; write closed: true if " +
      "that is meant",
    ],
  ];
  for (const [text, message] of cases) {
    const { code, stderr } = await rig.askWith(text, "policy", "put", "fleet", "-");
    assertEquals([code, stderr], [2, `${message}\n`]);
  }
  const missing = await rig.ask("policy", "put", "fleet", rig.folder.file("none.yaml"));
  assertMatch(missing.stderr, /^cannot read \S+none\.yaml: there is no such file\n$/);
  const { stdout } = await rig.ask("policy", "history");
  assertEquals(stdout, 'no policy document was ever written in fleet "default"\n');
});

Deno.test("who has another revision than expected changes nothing", async () => {
  await using rig = await FleetRig.start();
  await rig.put("fleet", "{}");
  const cases: [string[], string][] = [
    [["put", "fleet", "-", "--if-revision", "7"], "has revision 1, where revision 7 was expected"],
    [["put", "fleet", "-", "--if-revision", "0"], "has revision 1, where it was to be absent"],
    [["delete", "fleet", "--if-revision", "7"], "has revision 1, where revision 7 was expected"],
  ];
  for (const [words, what] of cases) {
    const { code, stdout, stderr } = await rig.askWith("deny: [a.test]", "policy", ...words);
    assertEquals([code, stdout, stderr], [
      1,
      "",
      `the policy document fleet ${what}: somebody else has changed it. ` +
      "fleet policy history fleet shows what; nothing was written\n",
    ]);
  }
  assertEquals((await rig.ask("policy", "get", "fleet")).stdout, "{}\n");
});

Deno.test("get yields a document as it was written, and lists those that there are", async () => {
  await using rig = await FleetRig.start();
  const none = await rig.ask("policy", "get");
  assertEquals(
    none.stdout,
    'fleet "default" has no policy document; write one with: fleet policy put fleet FILE\n',
  );
  const text = `# kept\n${RULES}`;
  await rig.put("fleet", text);
  await rig.put("group.ci", "closed: true\n");
  await rig.put("fleet", "deny: [metadata]\n");
  assertEquals((await rig.ask("policy", "get", "fleet")).stdout, "deny: [metadata]\n");
  const before = await rig.ask("policy", "get", "fleet", "--revision", "1");
  assertEquals([before.code, before.stdout], [0, text]);
  const json = JSON.parse((await rig.ask("policy", "get", "group.ci", "--json")).stdout);
  assertEquals([json.key, json.revision, json.text], ["group.ci", 2, "closed: true\n"]);
  const list = await rig.ask("policy", "get");
  const lines = list.stdout.split("\n");
  assertEquals(lines[0], "KEY       REVISION  SINCE                 SIZE  SAYS");
  assertMatch(lines[1]!, new RegExp(`^fleet            3  ${TIME}  17 B  1 deny rule$`));
  assertMatch(lines[2]!, new RegExp(`^group\\.ci         2  ${TIME}  13 B  closed$`));
  const { documents, revision } = JSON.parse((await rig.ask("policy", "get", "--json")).stdout);
  assertEquals([revision, documents.length, documents[1].closed], [3, 2, true]);
  // Somebody has put what is none of a fleet's beside them.
  const bucket = await new Kvm(jetstream(rig.connection)).open(policyBucket("default"));
  await bucket.put("notes", "deny: [a.test]");
  await bucket.put("guest.bad", "alow: []");
  const strange = (await rig.ask("policy", "get")).stdout.split("\n");
  assertMatch(strange[3]!, /^guest\.bad .* malformed: guest\.bad:1:1 unknown key "alow"/);
  assertMatch(strange[4]!, /^notes .* nothing to any gateway: that is no key of a document$/);
  const refusals: [string[], string][] = [
    [
      ["guest.web"],
      'fleet "default" has no policy document guest.web. fleet policy get lists ' +
      "those that it has",
    ],
    [
      ["fleet", "--revision", "2"],
      "revision 2 is none of the policy document fleet. fleet policy " +
      "history fleet lists those that are kept",
    ],
  ];
  for (const [words, message] of refusals) {
    const { code, stderr } = await rig.ask("policy", "get", ...words);
    assertEquals([code, stderr], [1, `${message}\n`]);
  }
});

Deno.test("history tells what came with each revision, and delete takes a document away", async () => {
  await using rig = await FleetRig.start();
  await rig.put("fleet", RULES);
  await rig.put("guest.web", "deny: [a.test]");
  await rig.put("fleet", "deny: [metadata]\n");
  const gone = await rig.ask("policy", "delete", "guest.web", "--if-revision", "2");
  assertEquals([gone.code, gone.stdout.split("\n")], [0, [
    "guest.web goes: 1 rule removed",
    "  - deny a.test",
    "taken away with revision 4",
    "no gateway has answered; it comes into force where one meets the engine",
    "",
  ]]);
  const again = await rig.ask("policy", "delete", "guest.web");
  assertEquals([again.code, again.stdout, again.stderr], [
    1,
    "",
    'fleet "default" has no policy document guest.web. fleet policy get lists those that it has\n',
  ]);
  const get = await rig.ask("policy", "get", "guest.web");
  assertEquals(
    get.stderr,
    'fleet "default" has no policy document guest.web: it was taken away with revision 4. ' +
      "fleet policy get lists those that it has\n",
  );
  const { stdout } = await rig.ask("policy", "history");
  const lines = stdout.split("\n").map((line) => line.replace(new RegExp(TIME), "TIME"));
  assertEquals(lines, [
    "REVISION  WHEN                  KEY        SIZE  WHAT",
    "       4  TIME  guest.web     -  taken away",
    "       3  TIME  fleet      17 B  2 rules removed, protect removed",
    "       2  TIME  guest.web  14 B  1 rule added",
    "       1  TIME  fleet      68 B  3 rules added, protect set",
    "",
  ]);
  const one = JSON.parse((await rig.ask("policy", "history", "guest.web", "--json")).stdout);
  assertEquals(
    one.revisions.map(({ revision, bytes }: { revision: number; bytes: number }) => {
      return [revision, bytes];
    }),
    [[4, null], [2, 14]],
  );
});

Deno.test("explain names the document and the line, and says that the host is not known", async () => {
  await using rig = await FleetRig.start();
  await using _gateways = await rig.gateways([
    announcement("h1", { guests: [announcedGuest("web", { group: "ci" })] }),
  ]);
  await rig.put("fleet", "deny:\n  - metadata\n  - 10.0.0.0/8\n");
  await rig.put("group.ci", "allow: [pypi.org]\n");
  const unknown = "its host's own configuration is not known here, and may deny more; --config " +
    "names its file";
  const explain = (target: string) =>
    rig.heard(/ which gateway h1 serves/, {
      words: ["policy", "explain", target, "--guest", "web"],
    });
  const denied = await explain("10.1.2.3:5432");
  assertEquals([denied.code, denied.stderr, denied.stdout.split("\n")], [5, "", [
    "DENY  tcp 10.1.2.3:5432  by 10.0.0.0/8 (fleet:3:3): a rule denies it",
    '      allow it with  deny: [] without "10.0.0.0/8" in the fleet\'s document fleet (fleet:3:3)',
    "as guest web of group ci, which gateway h1 serves: fleet (revision 1), group.ci (revision 2)",
    unknown,
    "",
  ]]);
  const allowed = await explain("pypi.org:443");
  assertEquals([allowed.code, allowed.stdout.split("\n")[0]], [
    0,
    "ALLOW dns pypi.org  by pypi.org (group.ci:1:9): the name may be looked up",
  ]);
  const other = await explain("a.test:443");
  assertEquals(
    other.stdout.split("\n")[1],
    '      allow it with  allow: ["a.test"] in fleet, group.ci, guest.web or the host\'s own ' +
      "configuration",
  );
  const named = await rig.ask("policy", "explain", "a.test", "--guest", "db", "--group", "prod");
  assertEquals([named.code, named.stdout.split("\n").at(-3)], [
    0,
    "as a guest of group prod: fleet (revision 1)",
  ]);
  const nobody = await rig.ask("policy", "explain", "a.test", "--guest", "db", "--json");
  const { source, allowed: isAllowed } = JSON.parse(nobody.stdout);
  assertEquals([isAllowed, source], [true, {
    fleet: "default",
    guest: "db",
    group: null,
    revision: 2,
    documents: [{ key: "fleet", revision: 1 }],
    host: null,
  }]);
});

Deno.test("explain has the host's own configuration where its file is named", async () => {
  await using rig = await FleetRig.start();
  await rig.put("fleet", "{}");
  const file = await rig.file("gateway.yaml", "policy:\n  deny: [b.test]\n");
  const { code, stdout } = await rig.ask(
    ...["policy", "explain", "b.test", "--guest", "web", "--config", file],
  );
  assertEquals(code, 5);
  const lines = stdout.split("\n");
  assertMatch(lines[0]!, /^DENY {2}dns b\.test {2}by b\.test \(\S+gateway\.yaml:2:10\): /);
  assertEquals(lines.at(-2), `and its host's own configuration ${file}`);
});

Deno.test("a closed document is told as such", async () => {
  await using rig = await FleetRig.start();
  await rig.put("fleet", "# for the night\nclosed: true\n");
  const { code, stdout } = await rig.ask(
    "policy",
    "explain",
    "93.184.215.14:443",
    "--guest",
    "web",
  );
  assertEquals([code, stdout.split("\n").slice(0, 2)], [5, [
    "DENY  tcp 93.184.215.14:443  by closed: true (fleet:2:1): a rule denies it",
    "      allow it with  no closed: true in the fleet's document fleet",
  ]]);
});

Deno.test("keys, revisions and names that are none are refused before anybody is asked", async () => {
  await using rig = await FleetRig.start();
  await rig.server.kill();
  const label = "up to 63 lower-case letters, digits and hyphens, such as db-1";
  const cases: [string[], string][] = [
    [
      ["get", "flet"],
      '"flet" is no key: write fleet, group.NAME or guest.NAME; did you mean ' +
      '"fleet"?',
    ],
    [
      ["get", "group"],
      '"group" is no key: write fleet, group.NAME or guest.NAME; did you mean ' +
      '"group.NAME"?',
    ],
    [["get", "guest.Web"], `"guest.Web" is no key: "Web" is not ${label}`],
    [
      ["get", "--revision", "3"],
      "--revision is of one document; name it: fleet policy get KEY " +
      "--revision N",
    ],
    [["get", "fleet", "--revision", "x"], '--revision: "x" is no whole number from 1 on'],
    [["put", "fleet"], "fleet policy put needs KEY FILE|-; see fleet policy put --help"],
    [["delete"], "fleet policy delete needs a KEY; see fleet policy delete --help"],
    [["explain", "a.test"], "fleet policy explain needs --guest NAME: whose policy is asked about"],
    [["explain", "a.test", "--guest", "A"], `--guest: "A" is not ${label}`],
    [["explain", "a.test", "--guest", "a", "--group", "B"], `--group: "B" is not ${label}`],
    [["gett"], 'unknown command "fleet policy gett"; did you mean "get"?'],
  ];
  for (const [words, message] of cases) {
    const { code, stderr } = await rig.ask("policy", ...words);
    assertEquals([code, stderr], [2, `${message}\n`]);
  }
});
