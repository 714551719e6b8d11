import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Folder, runCli, runCliWith } from "./cli_process.ts";

const FIXTURE = new URL("../../fixtures/config/gateway.yaml", import.meta.url).pathname;

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
