import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Folder, runCli, runCliWith } from "./cli_process.ts";

const FIXTURE = new URL("../../fixtures/config/gateway.yaml", import.meta.url).pathname;

const GUESTS = new URL("../../fixtures/config/guests.yaml", import.meta.url).pathname;

/** A `check --json` document's values, wherever they stand in it. */
function withoutOrigins(node: unknown): unknown {
  if (typeof node !== "object" || node === null || Array.isArray(node)) return node;
  if ("origin" in node && "value" in node) return node.value;
  return Object.fromEntries(
    Object.entries(node).map(([key, each]) => [key, withoutOrigins(each)]),
  );
}

/** The values that a `check --json` document shows. */
function values(stdout: string): Record<string, unknown> {
  const { config } = JSON.parse(stdout) as { config: Record<string, { value: unknown }> };
  return Object.fromEntries(Object.entries(config).map(([key, { value }]) => [key, value]));
}

Deno.test("what check prints is a file that gives the same configuration", async () => {
  const printed = await runCli([`--allow-read=${FIXTURE}`], "check", "--config", FIXTURE);
  assertEquals([printed.code, printed.stderr], [0, ""]);
  assertStringIncludes(
    printed.stdout,
    `  mtu: 9000                                  # ${FIXTURE}:9:3`,
  );
  const again = await runCliWith({ stdin: printed.stdout }, [], "check", "--json", "--config", "-");
  const first = await runCli([`--allow-read=${FIXTURE}`], "check", "--json", "--config", FIXTURE);
  assertEquals(values(again.stdout), values(first.stdout));
});

Deno.test("several guests are printed as a file that gives the same ones, with what they need", async () => {
  const permissions = [`--allow-read=${GUESTS}`];
  const printed = await runCli(permissions, "check", "--config", GUESTS);
  assertEquals(printed.code, 0);
  assertMatch(
    printed.stderr,
    /^\S+guests\.yaml:26:15 policy\.allow is an empty list, which closes nothing: [^\n]*\n$/,
  );
  const lines = printed.stdout.split("\n");
  const place = (line: number): string => `# ${GUESTS}:${line}:`;
  for (
    const [text, origin] of [
      ["workers: 2", place(2)],
      ["    mtu: 9000", place(8)],
      ["  - name: web", place(11)],
      ["    listen: unix:/run/web.sock", place(12)],
      ["      guestIp: 10.9.0.2/24", place(8)],
      ["      guestMac: 02:53:4d:01:00:03", "# default"],
      ['      deny: ["metadata"]', place(5)],
      ["    connect: unix:/run/job.sock", place(24)],
      ["      guestIp: 100.96.0.2/30", "# default"],
    ] as const
  ) {
    assert(lines.some((line) => line.startsWith(`${text} `) && line.includes(origin)), text);
  }
  assertMatch(
    lines.find((line) => line.startsWith("# deno"))!,
    new RegExp(
      "^# deno run --allow-net --allow-read=[^ ,]*," +
        `${GUESTS},/etc/resolv.conf,/run/web.sock,/run/job.sock,/run/gateway.control.sock,` +
        "db.pcapng --allow-write=/run/web.sock,/run/job.sock,/run/gateway.control.sock,db.pcapng," +
        `db.pcapng.1 \\S*cli.ts run --config ${GUESTS}$`,
    ),
  );
  const json = async (text: string): Promise<Record<string, unknown>> => {
    const { stdout } = await runCliWith({ stdin: text }, [], "check", "--json", "--config", "-");
    const { config, networks, guests } = JSON.parse(stdout);
    return withoutOrigins({ config, networks, guests }) as Record<string, unknown>;
  };
  const first = await json(Deno.readTextFileSync(GUESTS));
  assertEquals(await json(printed.stdout), first);
  const guests = first.guests as Record<string, Record<string, unknown>>;
  assertEquals(Object.keys(guests), ["web", "db", "job-1"]);
  assertEquals(guests.web!.publish, ["8080:80"]);
});

Deno.test("a worker reads the program's modules; without one nothing of them is read", async () => {
  const text =
    "workers: 0\nguests: [{ name: a, listen: tcp:127.0.0.1:1, dns: { upstreams: 9.9.9.9 } }]";
  const outcome = await runCliWith({ stdin: text }, [], "check", "--json", "--config", "-");
  assertEquals(JSON.parse(outcome.stdout).permissions, ["--allow-net"]);
  const { stdout } = await runCliWith(
    { stdin: text.replace("0", "1") },
    [],
    ...["check", "--json", "--config", "-"],
  );
  const [, read = ""] = JSON.parse(stdout).permissions as string[];
  const root = new URL("../../", import.meta.url).pathname;
  assertEquals(read, `--allow-read=${root === `${Deno.cwd()}/` ? "." : root}`);
});

Deno.test("the origin of each value is told", async () => {
  const env = { VIRTIO_GATEWAY_GRACE: "1.5" };
  const outcome = await runCliWith(
    { env, stdin: "guestNetwork:\n  mtu: 1400\n" },
    ["--allow-env=VIRTIO_GATEWAY_*"],
    ...["check", "--json", "--config", "-", "--no-ipv6"],
  );
  assertEquals([outcome.code, outcome.stderr], [0, ""]);
  const { config, permissions, command } = JSON.parse(outcome.stdout);
  assertEquals(config["guestNetwork.mtu"], { value: 1400, origin: "stdin:2:3" });
  assertEquals(config["guestNetwork.ipv6"], { value: false, origin: "--no-ipv6" });
  assertEquals(config.grace, { value: 1.5, origin: "VIRTIO_GATEWAY_GRACE" });
  assertEquals(config.publish, { value: [], origin: "default" });
  assertEquals(permissions, [
    "--allow-net",
    "--allow-read=/etc/resolv.conf",
    "--allow-env=VIRTIO_GATEWAY_GRACE",
  ]);
  assertMatch(
    command,
    /^deno run --allow-net --allow-read=\/etc\/resolv\.conf --allow-env=VIRTIO_GATEWAY_GRACE \S*cli\.ts run --config - --no-ipv6$/,
  );
});

Deno.test("a proxy's user and password are not shown", async () => {
  const text = "upstreamProxy: http://anna:s3cret@a.test:3128\n";
  const file = await runCliWith({ stdin: text }, [], "check", "--config", "-");
  assertStringIncludes(file.stdout, '\nupstreamProxy: "http://***@a.test:3128"');
  const proxy = "socks5://anna:s3cret@[::1]:1080";
  for (const words of [["--upstream-proxy", proxy], [`--upstream-proxy=${proxy}`, "--json"]]) {
    const { code, stdout } = await runCli([], "check", ...words);
    assertEquals(code, 0);
    assertStringIncludes(stdout, "socks5://***@[::1]:1080");
    assert(!/anna|s3cret/.test(stdout + file.stdout), stdout);
  }
});

Deno.test("an allow list that is given and empty is said to close nothing", async () => {
  const check = async (text: string, ...words: string[]) => {
    const { code, stderr } = await runCliWith(
      { stdin: text },
      [],
      "check",
      "--config",
      "-",
      ...words,
    );
    assertEquals(code, 0);
    return stderr;
  };
  const empty = "policy:\n  deny: [a.test]\n  allow: []\n";
  const notice = await check(empty);
  assertMatch(
    notice,
    /^stdin:3:3 policy\.allow is an empty list, which closes nothing: .*\[none\.invalid\]\n$/,
  );
  assertEquals(await check(empty, "--json"), notice);
  for (const text of ["policy: { deny: [] }", "policy: { allow: [none.invalid] }", "mtu: 1500"]) {
    assertEquals(await check(text.replace("mtu", "guestNetwork:\n  mtu")), "", text);
  }
  assertEquals(await check(empty, "--allow", "a.test"), "", "the flag wins");
});

Deno.test("what check prints without a rule is quiet as a file, and means the same", async () => {
  const printed = await runCli([], "check");
  assertEquals([printed.code, printed.stderr], [0, ""]);
  const again = await runCliWith({ stdin: printed.stdout }, [], "check", "--config", "-");
  assertEquals([again.code, again.stderr], [0, ""]);
  const asJson = await runCliWith(
    { stdin: printed.stdout },
    [],
    "check",
    "--json",
    "--config",
    "-",
  );
  const first = await runCli([], "check", "--json");
  assertEquals(values(asJson.stdout), values(first.stdout));
});

Deno.test("a fleet's values are printed as a file takes them, with what they need", async () => {
  await using folder = await Folder.make();
  const credentials = folder.file("engine.yaml");
  await Deno.writeTextFile(credentials, "token: s3cret\ntls: { ca: ca.pem }", { mode: 0o600 });
  const certificate = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----";
  await Deno.writeTextFile(folder.file("ca.pem"), certificate);
  const flags = [
    ...["--fleet", "tls://a.test", "--fleet-gateway", "g1", "--fleet-dir", "/var/lib/g1"],
    ...["--fleet-credentials", credentials, "--fleet-service", "web=80"],
    ...["--fleet-service", "dns=53", "--fleet-service", "dns=53/udp"],
  ];
  const allowed = [`--allow-read=${folder.path}`];
  const { code, stdout, stderr } = await runCli(allowed, "check", ...flags);
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(stdout, `  servers: ["tls://a.test:4222"]`);
  assertStringIncludes(stdout, `  services: {"web":80,"dns":[53,"53/udp"]}`);
  assertMatch(stdout, new RegExp(`--allow-read=\\S*,${credentials},${folder.path}/ca.pem,`));
  assertMatch(stdout, /--allow-write=\S*\/var\/lib\/g1 /);
  assert(!stdout.includes("s3cret"));
  const again = await runCliWith({ stdin: stdout }, allowed, "check", "--json", "--config", "-");
  const first = await runCli(allowed, "check", "--json", ...flags);
  assertEquals(values(again.stdout), values(first.stdout));

  const unread = await runCli([], "check", ...flags);
  assertEquals(unread.code, 0);
  assertStringIncludes(unread.stderr, `${credentials} was not looked at, as Deno may not read it`);
  await Deno.chmod(credentials, 0o644);
  const open = await runCli(allowed, "check", ...flags);
  assertEquals(open.code, 2);
  assertStringIncludes(open.stderr, "others than its user may read or write it");
});

Deno.test("nothing of a fleet is printed where there is none", async () => {
  const { stdout } = await runCli([], "check");
  assert(!stdout.includes("fleet"));
});

Deno.test("environment variables that may not be read are passed over", async () => {
  const outcome = await runCliWith(
    { env: { VIRTIO_GATEWAY_MTU: "nonsense" } },
    [],
    ...["check", "--json"],
  );
  assertEquals([outcome.code, outcome.stderr], [0, ""]);
  assertEquals(values(outcome.stdout)["guestNetwork.mtu"], 1500);
});

Deno.test("the default endpoint is a unix socket where Deno may write it", async () => {
  await using folder = await Folder.make();
  const check = async (...permissions: string[]) => {
    const { stdout } = await runCliWith({ cwd: folder.path }, permissions, "check", "--json");
    const { value, origin } = JSON.parse(stdout).config.listen;
    return [value, origin];
  };
  assertEquals(await check("--allow-read", "--allow-write=."), [
    "unix:./virtio-gateway.sock",
    "default: no endpoint was named",
  ]);
  assertEquals(await check("--allow-read"), [
    "tcp:127.0.0.1:7654",
    "default: for a unix socket add --allow-write=./virtio-gateway.sock",
  ]);
});

Deno.test("bad configurations give their one message and exit code 2", async () => {
  await using folder = await Folder.make();
  const path = folder.file("gateway.yaml");
  const cases: [string, string][] = [
    [
      "policy:\n  protct: off\n",
      `${path}:2:3 unknown key "protct" in policy; did you mean "protect"?`,
    ],
    [
      "policy:\n  allow: [pypi.org, 10.1.0.0/8]\n",
      `${path}:2:21 policy.allow[1]: "10.1.0.0/8": 10.1.0.0/8 has bits set behind the prefix; ` +
      "did you mean 10.0.0.0/8?",
    ],
    [
      "rate: { up: 10M }\n",
      `${path}:1:9 rate.up: "10M" is not a number of bytes, such as 10MB, 512KiB or 1500`,
    ],
    [
      "dns: { zones: { corp.example: dns } }\n",
      `${path}:1:17 dns.zones.corp.example: "dns" is a name; write a resolver's address, or tls://dns`,
    ],
    [
      "upstreamProxy: ftp://user:pass@a.test:21\n",
      `${path}:1:1 upstreamProxy: "ftp://***@a.test:21": is not a proxy; ` +
      "write http://HOST:PORT or socks5://HOST:PORT",
    ],
    [
      "limits: { policyRules: 0 }\n",
      `${path}:1:11 limits.policyRules: 0 is not a whole number from 1 to 1048576`,
    ],
    [
      "publish: ['80:0']\n",
      `${path}:1:11 publish[0]: "80:0": "0" is not a port or range of the guest`,
    ],
    [
      "listen: /run/a.sock\n",
      `${path}:1:1 listen: "/run/a.sock" is not an endpoint; write unix:/run/a.sock`,
    ],
  ];
  for (const [text, message] of cases) {
    await Deno.writeTextFile(path, text);
    const outcome = await runCli([`--allow-read=${folder.path}`], "check", "--config", path);
    assertEquals([outcome.code, outcome.stdout, outcome.stderr], [2, "", `${message}\n`]);
  }
  await Deno.writeFile(path, Uint8Array.of(0xff, 0xfe, 0x00));
  const binary = await runCli([`--allow-read=${folder.path}`], "check", "--config", path);
  assertEquals([binary.code, binary.stderr], [2, `cannot read ${path}: it is not UTF-8 text\n`]);
  const absent = await runCli([`--allow-read=${folder.path}`], "check", "--config", `${path}.no`);
  assertEquals(
    [absent.code, absent.stderr],
    [2, `cannot read ${path}.no: there is no such file\n`],
  );
});

Deno.test("a file that Deno may not read names the flag to add", async () => {
  const outcome = await runCli([], "check", "--config", "gateway.yaml");
  assertEquals([outcome.code, outcome.stderr], [
    3,
    "cannot read gateway.yaml: Deno has no permission for it. Add --allow-read=gateway.yaml\n",
  ]);
});
