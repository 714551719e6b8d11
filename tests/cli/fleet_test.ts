/** `fleet status|top|denials`, and what every command of a fleet says where it can't ask. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connectEngine } from "../../lib/fleet/engine_transport.ts";
import { auditStream, auditSubjects, policyBucket } from "../../lib/fleet/names.ts";
import { announcedGuest, announcement } from "../fleet/announcing.ts";
import { BackgroundProgram, until } from "../guest/program.ts";
import { NatsServer } from "../support/nats_server.ts";
import { cliWords, Folder, runCliWith } from "./cli_process.ts";
import { fleetPermissions, FleetRig } from "./fleet_rig.ts";

const TIME = "\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\dZ";

/** A port that is given to no socket that asks for any. */
const NOBODYS_PORT = 1;

/** What asks for nothing but an engine. */
const COMMANDS: readonly (readonly string[])[] = [
  ["status"],
  ["top"],
  ["denials"],
  ["policy", "get"],
  ["policy", "history"],
  ["policy", "put", "fleet", "-"],
  ["policy", "delete", "fleet"],
  ["policy", "explain", "a.test", "--guest", "web"],
  ["init"],
];

Deno.test("where no fleet is named, each command says how to name one", async () => {
  await using folder = await Folder.make();
  const asked = COMMANDS.map(async (words) => {
    const { code, stdout, stderr } = await runCliWith(
      { cwd: folder.path, stdin: "{}" },
      fleetPermissions(folder, 1),
      ...["fleet", ...words],
    );
    assertEquals([code, stdout, stderr], [
      2,
      "",
      "no fleet is named: say where its engine is, with --fleet nats://HOST:PORT, with " +
      "VIRTIO_GATEWAY_FLEET, or with --config and a file that has fleet: { servers: [...] }\n",
    ]);
  });
  await Promise.all(asked);
});

Deno.test("where no engine answers, each command ends with 4 and says so", async () => {
  await using folder = await Folder.make();
  const port = NOBODYS_PORT;
  const asked = COMMANDS.map(async (words) => {
    const { code, stdout, stderr } = await runCliWith(
      { cwd: folder.path, stdin: "{}" },
      fleetPermissions(folder, port),
      ...["fleet", ...words, "--fleet", `nats://127.0.0.1:${port}`],
    );
    assertEquals([code, stdout], [4, ""]);
    assertMatch(
      stderr,
      new RegExp(
        `^no engine answers on nats://127\\.0\\.0\\.1:${port}: .*refused.*\\. Look whether it ` +
          "runs \\(nats-server -js\\), or name another place with --fleet\n$",
      ),
    );
  });
  await Promise.all(asked);
});

Deno.test("an engine is named by a variable, or by a gateway's file, and any of its servers will do", async () => {
  await using rig = await FleetRig.start();
  const dead = `nats://127.0.0.1:${NOBODYS_PORT}`;
  const { url, port } = rig.server;
  const [, read = ""] = fleetPermissions(rig.folder, port);
  const permissions = ["--allow-net=127.0.0.1", read, "--allow-env=VIRTIO_GATEWAY_FLEET"];
  const cwd = rig.folder.path;
  const env = { VIRTIO_GATEWAY_FLEET: `${dead},${url}` };
  const named = await runCliWith({ cwd, env }, permissions, "fleet", "policy", "get");
  assertEquals([named.code, named.stderr], [0, ""]);
  const file = await rig.file(
    "gateway.yaml",
    `fleet: { servers: ["${url}"], gateway: h1, dir: /var/lib/none }\npolicy: { deny: [a.test] }\n`,
  );
  const words = ["fleet", "policy", "get", "--config", file];
  const configured = await runCliWith({ cwd }, permissions, ...words);
  assertEquals([configured.code, configured.stdout], [0, named.stdout]);
  const other = await runCliWith({ cwd }, permissions, ...words, "--fleet-name", "other");
  assertEquals(other.code, 1);
  assertStringIncludes(other.stderr, 'fleet "other" has no policy on this engine');
  const stdin = await runCliWith(
    { cwd, stdin: "" },
    permissions,
    "fleet",
    "status",
    "--config",
    "-",
  );
  assertEquals([stdin.code, stdin.stderr], [
    2,
    "--config: a fleet's commands take no standard input; name a file\n",
  ]);
});

Deno.test("an engine that takes connections and says nothing is given up", async () => {
  await using rig = await FleetRig.start();
  await rig.server.pause();
  const { code, stderr } = await rig.ask("status");
  rig.server.resume();
  assertEquals(code, 4);
  assertStringIncludes(stderr, `no engine answers on ${rig.server.url}: `);
});

Deno.test("a missing permission is told with its flag and 3", async () => {
  await using folder = await Folder.make();
  const words = ["fleet", "status", "--fleet", "nats://127.0.0.1:4222"];
  const [, read = ""] = fleetPermissions(folder, 4222);
  const net = await runCliWith({ cwd: folder.path }, [read, "--allow-net=127.0.0.1:1"], ...words);
  assertEquals([net.code, net.stderr], [
    3,
    "cannot connect to nats://127.0.0.1:4222: Deno has no permission for it. " +
    "Add --allow-net=127.0.0.1:4222\n",
  ]);
  const modules = await runCliWith({ cwd: folder.path }, ["--allow-net"], ...words);
  assertEquals(modules.code, 3);
  assertMatch(
    modules.stderr,
    /^cannot load the modules of a fleet: Deno has no permission for it\. Add --allow-read=\S+\n$/,
  );
  const file = folder.file("engine.yaml");
  await Deno.writeTextFile(file, "token: secret\n", { mode: 0o600 });
  const root = new URL("../../", import.meta.url).pathname;
  const credentials = await runCliWith(
    { cwd: folder.path },
    ["--allow-net=127.0.0.1:4222", `--allow-read=${root}`],
    ...[...words, "--fleet-credentials", file],
  );
  assertEquals([credentials.code, credentials.stderr], [
    3,
    `cannot read ${file}: Deno has no permission for it. Add --allow-read=${file}\n`,
  ]);
});

Deno.test("credentials that are missing or wrong are told with the way out, and no secret", async () => {
  await using server = await NatsServer.start({ config: 'authorization { token: "right" }' });
  await using folder = await Folder.make();
  const ask = (...more: string[]) =>
    runCliWith(
      { cwd: folder.path },
      fleetPermissions(folder, server.port),
      ...["fleet", "status", "--fleet", server.url, ...more],
    );
  const none = await ask();
  assertEquals([none.code, none.stdout], [1, ""]);
  assertMatch(
    none.stderr,
    new RegExp(
      `^the engine on ${server.url} lets nobody in like this: .*credentials.*\\. Name a file of ` +
        "credentials with --fleet-credentials\n$",
    ),
  );
  const file = folder.file("engine.yaml");
  await Deno.writeTextFile(file, "token: not-this-one\n", { mode: 0o600 });
  const wrong = await ask("--fleet-credentials", file);
  assertEquals([wrong.code, wrong.stdout], [1, ""]);
  assertMatch(
    wrong.stderr,
    new RegExp(
      `^the engine on ${server.url} lets nobody in like this: .*${file}.*\\. Put right what ` +
        `${file} says, or ask the engine's operator\n$`,
    ),
  );
  assert(!wrong.stderr.includes("not-this-one"));
  await Deno.writeTextFile(file, "token: right\n");
  const right = await ask("--fleet-credentials", file);
  assertStringIncludes(right.stdout, "fleet      default on 127.0.0.1");
});

Deno.test("a bucket and a stream that are missing or another one's are told once each", async () => {
  await using server = await NatsServer.start();
  await using folder = await Folder.make();
  const ask = (stdin: string, ...words: string[]) =>
    runCliWith(
      { cwd: folder.path, stdin },
      fleetPermissions(folder, server.port),
      ...["fleet", ...words, "--fleet", server.url],
    );
  const of: [string[], string][] = [
    [["policy", "get"], "policy"],
    [["policy", "put", "fleet", "-"], "policy"],
    [["policy", "explain", "a.test", "--guest", "web"], "policy"],
    [["denials"], "stream"],
  ];
  for (const [words, what] of of) {
    const { code, stdout, stderr } = await ask("{}", ...words);
    assertEquals([code, stdout], [1, ""], stderr);
    assertMatch(stderr, /^[^\n]+\. Make it with: (virtio-gateway )?fleet init[^\n]*\n$/);
    assertStringIncludes(
      stderr,
      what === "policy" ? "virtio-gateway-default-policy" : "virtio-gateway-default-audit",
    );
  }
  const status = await ask("", "status");
  assertEquals(status.code, 1);
  assertStringIncludes(status.stdout, "policy     is not known, see below\n");
  const faults = status.stderr.split("\n");
  assertEquals(faults.length, 3);
  assertStringIncludes(faults[0]!, "there is no bucket virtio-gateway-default-policy");
  assertStringIncludes(faults[1]!, "there is no stream virtio-gateway-default-audit");
  const connection = await connectEngine({ servers: server.url });
  await new Kvm(jetstream(connection)).create(policyBucket("default"));
  const manager = await jetstreamManager(connection);
  await manager.streams.add({
    name: auditStream("default"),
    subjects: [auditSubjects("default")],
  });
  await connection.close();
  for (const [words] of of) {
    const { code, stdout, stderr } = await ask("{}", ...words);
    assertEquals([code, stdout], [1, ""], stderr);
    assertMatch(stderr, /^[^\n]+ is not [^\n]+\. Name another fleet with --fleet-name[^\n]*\n$/);
  }
});

Deno.test("status shows gateways, the policy in force, services, and what is wrong", async () => {
  await using rig = await FleetRig.start();
  await rig.put("fleet", "deny: [metadata]\n");
  await rig.put("group.ci", "deny: [a.test]\n");
  const web = {
    name: "http",
    protocol: "tcp",
    port: 8080,
    addresses: ["10.0.0.1", "fd00::1"],
  } as const;
  await using _gateways = await rig.gateways([
    announcement("h1", {
      revision: 2,
      policy: "in force",
      audit: { waiting: 3, shed: 0 },
      guests: [
        announcedGuest("web", {
          group: "ci",
          flows: 7,
          denials: 2,
          upBytes: 1_500,
          services: [web],
        }),
      ],
    }),
    // What it has no guest for is nothing that it could be behind.
    announcement("h2", { revision: 1, policy: "in force", audit: { waiting: 0, shed: 5 } }),
    announcement("h3", {
      revision: 1,
      policy: "in force",
      guests: [announcedGuest("web", { group: "ci", attached: false })],
    }),
    announcement("h4"),
  ]);
  const ofAll = /^gateways +4, /m;
  const { code, stdout, stderr } = await rig.heard(ofAll, { words: ["status"] });
  assertEquals([code, stderr], [0, ""]);
  const [server, ...lines] = stdout.split("\n");
  assertEquals(server, `fleet      default on 127.0.0.1:${rig.server.port}`);
  assertEquals(lines.slice(0, 8), [
    "policy     revision 2: fleet, group.ci",
    "           in force at 2 of 4 gateways",
    "           not yet at h3",
    "           closed, without any policy, at h4",
    "gateways   4, with 4 guests, 3 of them attached",
    "conflict   guest web is announced by h1, h3",
    "audit      3 records not delivered yet at h1",
    "           5 records lost for want of room at h2",
  ]);
  assertMatch(lines[9]!, /^GATEWAY +UP-FOR +POLICY +GUESTS +FLOWS +REFUSED +UP +DOWN$/);
  assertMatch(lines[10]!, /^h1 +\d.* in force: 2 +1 +7 +2 +1\.50 kB +0 B$/);
  assertMatch(lines[12]!, /^h3 +\d.* behind: 1 +1 +0 +0 +0 B +0 B$/);
  assertEquals(lines.slice(14), [
    "",
    "SERVICE                  AT                                     GATEWAY",
    "http.web.fleet.internal  10.0.0.1:8080/tcp, [fd00::1]:8080/tcp  h1",
    "",
  ]);
  const ofLast = /"gateway": *"h4"/;
  const json = JSON.parse((await rig.heard(ofLast, { words: ["status", "--json"] })).stdout);
  assertEquals(json.policy, {
    revision: 2,
    documents: [{ key: "fleet", revision: 1 }, { key: "group.ci", revision: 2 }],
  });
  assertEquals(
    json.gateways.map(({ gateway, standing }: Record<string, string>) => [gateway, standing]),
    [["h1", "in force"], ["h2", "in force"], ["h3", "behind"], ["h4", "closed"]],
  );
  assertEquals(json.conflicts, [{ guest: "web", gateways: ["h1", "h3"] }]);
});

Deno.test("denials are the latest of the stream, of one guest or gateway, with the way out", async () => {
  await using rig = await FleetRig.start();
  assertEquals(
    (await rig.ask("denials")).stdout,
    "nothing was refused, as far as the stream has it\n",
  );
  const hint = 'policy: { allow: ["pypi.org"] }';
  await rig.refuse({ count: 3 }, { name: "pypi.org", hint });
  await rig.refuse({ gateway: "h2", guest: "h2" });
  await rig.refuse({ denial: null, count: 900 });
  const { code, stdout, stderr } = await rig.ask("denials");
  assertEquals([code, stderr], [0, ""]);
  const lines = stdout.split("\n");
  const rule = "by 10.0.0.0/8 (fleet.deny[0]): a rule denies it";
  assertMatch(lines[0]!, new RegExp(`^${TIME}     3x  web at h1  DENY  tcp pypi\\.org:443  by `));
  assertEquals(lines.map((line) => line.replace(new RegExp(`^${TIME} +`), "")), [
    `3x  web at h1  DENY  tcp pypi.org:443  ${rule}`,
    `      allow it with  ${hint}`,
    `1x  h2  DENY  tcp 10.0.0.5:443  ${rule}`,
    "900x  web at h1  DENY  more than could be told apart",
    "",
  ]);
  const count = async (...words: string[]) => {
    const { records } = JSON.parse((await rig.ask("denials", "--json", ...words)).stdout);
    return records.length;
  };
  assertEquals(await count(), 3);
  assertEquals(await count("--last", "1"), 1);
  assertEquals(await count("--last", "0"), 0);
  assertEquals(await count("--guest", "web"), 2);
  assertEquals(await count("--gateway", "h2"), 1);
  const wrong = await rig.ask("denials", "--last", "many");
  assertEquals([wrong.code, wrong.stderr], [
    2,
    '--last: "many" is no whole number from 0 to 10000\n',
  ]);
});

Deno.test("--follow shows what comes, over an engine that was lost, and ends with its reader", async () => {
  await using rig = await FleetRig.start();
  await rig.refuse({ guest: "before" });
  const words = ["fleet", "denials", "--follow", "--fleet", rig.server.url];
  const permissions = fleetPermissions(rig.folder, rig.server.port);
  await using text = new BackgroundProgram(cliWords(permissions, words));
  await using json = new BackgroundProgram(cliWords(permissions, [...words, "--json"]));
  await text.line(/before at h1/);
  await json.line(/"guest":"before"/);
  await rig.refuse({ guest: "after" });
  await text.line(/after at h1 {2}DENY/);
  assertEquals(JSON.parse(await json.line(/"after"/)).guest, "after");
  await rig.server.kill();
  await text.line(/^the engine on nats:\S+ is lost; waiting$/);
  await rig.server.start();
  await text.line(/^the engine is back$/);
  await until("the rig is back too", async () => {
    return await rig.refuse({ guest: "later" }).then(() => true, () => false);
  });
  await text.line(/later at h1/);
});

Deno.test("names that guests make up do nothing to a terminal", async () => {
  await using rig = await FleetRig.start();
  await rig.refuse({}, { name: "a\x1b[31m\u202e.test" });
  for (const words of [[], ["--json"]]) {
    assertMatch((await rig.ask("denials", ...words)).stdout, /^[\n -~]*$/);
  }
});

Deno.test("top on a pipe prints one table with rates, or one document", async () => {
  await using rig = await FleetRig.start();
  const none = await rig.ask("top");
  assertEquals([none.code, none.stdout], [0, "no gateway has announced itself\n"]);
  await using _gateways = await rig.gateways([
    announcement("h1", { guests: [announcedGuest("web", { group: "ci" })] }),
    announcement("h2", { guests: [] }),
  ]);
  // Rates are those of two announcements.
  const { code, stdout, stderr } = await rig.heard(/^web .*( 0 B +){3}0 B$/m, { words: ["top"] });
  assertEquals([code, stderr, stdout.split("\n")], [0, "", [
    "GUEST  GATEWAY  GROUP  FLOWS  REFUSED  UP/S  DOWN/S  RATE  TOTAL",
    "web    h1       ci         0        0   0 B     0 B   0 B    0 B",
    "",
  ]]);
  const document = await rig.heard(/"web"/, { words: ["top", "--json"] });
  const { fleet, guests } = JSON.parse(document.stdout);
  assertEquals([fleet, guests.length, guests[0].name], ["default", 1, "web"]);
});

Deno.test("init makes the bucket and the stream, and changes nothing where they are there", async () => {
  await using server = await NatsServer.start();
  await using folder = await Folder.make();
  const ask = (...words: string[]) =>
    runCliWith(
      { cwd: folder.path, stdin: "{}" },
      fleetPermissions(folder, server.port),
      ...["fleet", ...words, "--fleet", server.url],
    );
  const first = await ask("init");
  assertEquals([first.code, first.stderr, first.stdout.split("\n")], [0, "", [
    "made the bucket virtio-gateway-default-policy, kept on 1 server",
    "made the stream virtio-gateway-default-audit, kept on 1 server",
    "gateways are closed until there is a policy; write it with: fleet policy put fleet FILE",
    "",
  ]]);
  assertEquals((await ask("policy", "put", "fleet", "-")).code, 0);
  const again = await ask("init");
  assertEquals(again.stdout.split("\n"), [
    "the bucket virtio-gateway-default-policy is there already, kept on 1 server",
    "the stream virtio-gateway-default-audit is there already, kept on 1 server",
    "",
  ]);
  assertEquals((await ask("policy", "get", "fleet")).stdout, "{}\n");
  const json = JSON.parse((await ask("init", "--json", "--fleet-name", "other")).stdout);
  assertEquals([json.fleet, json.policy.outcome], ["other", "made"]);
  const wrong = await ask("init", "--replicas", "2");
  assertEquals([wrong.code, wrong.stderr], [2, '--replicas: "2" is none of 1, 3, 5\n']);
  const many = await ask("init", "--replicas", "3", "--fleet-name", "third");
  assertEquals([many.code, many.stdout], [1, ""]);
  assertMatch(many.stderr, /^cannot make virtio-gateway-third-policy: [^\n]+ --replicas[^\n]*\n$/);
});
