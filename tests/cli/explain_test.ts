/** `explain` as a process: by a running gateway, or by the configuration. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { askPermissions, ControlProgram } from "./control_program.ts";
import { Folder, runCli, runCliWith } from "./cli_process.ts";

const GUESTS = new URL("../../fixtures/config/guests.yaml", import.meta.url).pathname;

Deno.test("explain judges by the configuration, and exits with 5 where the answer is no", async () => {
  const no = await runCli([], "explain", "pypi.org:443", "--allow", "*.github.com");
  assertEquals([no.code, no.stderr], [5, ""]);
  assertEquals(no.stdout.split("\n"), [
    "DENY  dns pypi.org  by default-deny (--allow): no rule names pypi.org",
    '      allow it with  policy: { allow: ["pypi.org"] }',
    "DENY  tcp pypi.org:443  by default-deny (--allow): no rule names pypi.org for it, unless one " +
    "allows its address",
    '      allow it with  policy: { allow: ["pypi.org"] }',
    "as the configuration says; no gateway was asked",
    "",
  ]);
  const yes = await runCli([], "explain", "https://api.github.com/x", "--allow", "*.github.com");
  assertEquals([yes.code, yes.stderr], [0, ""]);
  assertStringIncludes(yes.stdout, "ALLOW tcp api.github.com:443  by *.github.com (--allow): TLS");
});

Deno.test("explain reads a file and tells the line of its rule", async () => {
  await using folder = await Folder.make();
  const path = folder.file("gateway.yaml");
  await Deno.writeTextFile(path, "policy:\n  deny: [10.0.0.0/8]\n");
  const allowed = [`--allow-read=${folder.path}`];
  const outcome = await runCli(allowed, "explain", "10.1.2.3:22", "--config", path, "--json");
  assertEquals([outcome.code, outcome.stderr], [5, ""]);
  assertEquals(JSON.parse(outcome.stdout), {
    target: "10.1.2.3:22",
    allowed: false,
    source: { kind: "configuration", file: path },
    findings: [{
      what: "tcp 10.1.2.3:22",
      allowed: false,
      rule: "10.0.0.0/8",
      origin: `${path}:2:10`,
      detail: "a rule denies it",
      hint: `policy: { deny: [] } without "10.0.0.0/8" (${path}:2:10)`,
    }],
  });
  const metadata = await runCli([], "explain", "http://169.254.169.254/");
  assertEquals(metadata.code, 5);
  assertStringIncludes(metadata.stdout, "allow it with  policy: { protect: off }");
});

Deno.test("explain judges by one guest of several, which has to be named", async () => {
  const read = [`--allow-read=${GUESTS}`];
  const webOnly = ["--guest", "web"];
  const explain = (...words: string[]) =>
    runCli(read, "explain", "10.9.0.3:5432/tcp", "--config", GUESTS, ...words);
  const web = await explain("--guest", "web");
  assertEquals([web.code, web.stderr], [0, ""]);
  assertStringIncludes(web.stdout, `by db.internal:5432/tcp (${GUESTS}:16:15)`);
  assertStringIncludes(
    web.stdout,
    `as the configuration says (${GUESTS}, guest web); no gateway was asked\n`,
  );
  const json = await explain("--guest", "db", "--json");
  assertEquals(JSON.parse(json.stdout).source, {
    kind: "configuration",
    file: GUESTS,
    guest: "db",
  });
  // Another guest of the network is known by its name, and no level of protection is about it.
  const named = await runCli(read, "explain", "db.internal:5432", "--config", GUESTS, ...webOnly);
  assertEquals(named.code, 0, named.stdout);
  assertStringIncludes(named.stdout, "ALLOW dns db.internal");
  assertStringIncludes(
    named.stdout,
    `ALLOW tcp db.internal at [fd53:4d01::3]:5432  by db.internal:5432/tcp (${GUESTS}:16:15)`,
  );
  const other = await runCli(read, "explain", "db.internal:22", "--config", GUESTS, ...webOnly);
  assertEquals(other.code, 5);
  assertStringIncludes(other.stdout, "DENY  tcp db.internal at 10.9.0.3:22  by default-deny");
  const list = "; name one with --guest: web, db, job-1\n";
  const unnamed = await explain();
  assertEquals([unnamed.code, unnamed.stderr], [
    2,
    `the configuration is of several guests${list}`,
  ]);
  const wrong = await explain("--guest", "job1");
  assertEquals([wrong.code, wrong.stderr], [
    2,
    `there is no guest "job1"; did you mean "job-1"?\n`,
  ]);
  const lone = await runCli([], "explain", "a.test", "--deny", "a.test", "--guest", "web");
  assertEquals([lone.code, lone.stderr], [
    2,
    "--guest: the configuration is of one guest, without a name; drop it\n",
  ]);
});

Deno.test("explain says what is wrong with a target or a rule", async () => {
  const cases: [string[], string][] = [
    [["10.0.0.1:99999"], `"10.0.0.1:99999": no port is 99999\n`],
    [
      ["a", "--allow", "b..c"],
      `--allow: "b..c": b..c is no host name: `,
    ],
    [["a", "--control", "unix:/c", "--deny", "b.test"], "--control asks a running gateway, which"],
    [["a", "--control", "tcp:10.0.0.1:1"], `--control: "10.0.0.1" is not of the loopback`],
    [["a", "--control", "tcp:127.0.0.1:1"], "--control: on TCP needs a token"],
  ];
  for (const [args, message] of cases) {
    const { code, stdout, stderr } = await runCli([], "explain", ...args);
    assertEquals([code, stdout], [2, ""], stderr);
    assertStringIncludes(stderr, message);
  }
});

Deno.test("explain asks a gateway that is named or found, with its guest's names", async () => {
  await using folder = await Folder.make();
  const socket = folder.file("virtio-gateway.control.sock");
  await using gateway = await ControlProgram.start(
    folder,
    ...["--control", `unix:${socket}`, "--allow", "db.test:5432"],
    ...["--dns-record", "db.test=93.184.216.34"],
  );
  const found = await gateway.ask("explain", "db.test:5432");
  assertEquals([found.code, found.stderr], [0, ""]);
  assertStringIncludes(found.stdout, "once the guest has looked the name up");
  assertStringIncludes(
    found.stdout,
    "as the gateway on unix:./virtio-gateway.control.sock says, while no guest is attached\n",
  );
  const guest = await gateway.attach();
  await guest.resolve("db.test", "A");
  const named = await gateway.ask("explain", "db.test:5432", "--control", `unix:${socket}`);
  assertEquals(named.code, 0);
  assertStringIncludes(named.stdout, "ALLOW tcp db.test at 93.184.216.34:5432  by db.test:5432");
  assertStringIncludes(named.stdout, "says, with what its guest has looked up\n");
  const env = { VIRTIO_GATEWAY_CONTROL: `unix:${socket}` };
  const byVariable = await runCliWith(
    { env },
    askPermissions(folder),
    ...["explain", "--json", "other.test"],
  );
  assertEquals(byVariable.code, 5);
  assertEquals(JSON.parse(byVariable.stdout).source, {
    kind: "gateway",
    endpoint: `unix:${socket}`,
    hasGuest: true,
  });
  const offline = await gateway.ask("explain", "other.test", "--allow", "other.test");
  assertEquals(offline.code, 0);
  assertStringIncludes(offline.stdout, "as the configuration says; no gateway was asked\n");
  await gateway.program.end("SIGKILL");
  const stale = await gateway.ask("explain", "other.test");
  assertEquals(stale.code, 0, "a stale socket that was only found is no gateway");
  assertStringIncludes(stale.stdout, "as the configuration says");
  const gone = await gateway.ask("explain", "other.test", "--control", `unix:${socket}`);
  assertEquals([gone.code, gone.stdout, gone.stderr], [
    4,
    "",
    `no gateway answers on unix:${socket}: nothing listens there. ` +
    `Start one with: run --control unix:${socket}\n`,
  ]);
});
