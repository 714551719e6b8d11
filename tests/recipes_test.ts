/**
 * The recipes of examples/policy/ and docs/policy.md: each is a configuration, lets through what it
 * is for and nothing beside it; the programs of docs/policy.md run, and so does examples/fence.ts.
 */
import { assert, assertEquals } from "@std/assert";
import { resolveConfig } from "../lib/config/resolve.ts";
import { resolveSources } from "../lib/config/resolve_guests.ts";
import { EmbeddedGuest } from "../lib/guest/embedded_guest.ts";
import { explain, parseTarget } from "../lib/policy/explain.ts";
import { CLI, Folder, runCli } from "./cli/cli_process.ts";
import { BackgroundProgram, mustRun } from "./guest/program.ts";
import { policyOf } from "./support/policy.ts";

const ROOT = new URL("../", import.meta.url);
const RECIPES = "examples/policy";

const read = (path: string): string => Deno.readTextFileSync(new URL(path, ROOT));

/** What each recipe is to let through, and what not. */
const VERDICTS: Readonly<Record<string, { yes: string[]; no: string[] }>> = {
  "package-registries": {
    yes: [
      "https://registry.npmjs.org/left-pad",
      "https://pypi.org/simple/",
      "https://files.pythonhosted.org/",
      "https://index.crates.io/",
      "https://static.crates.io/",
      "http://deb.debian.org/debian",
      "http://security.debian.org/",
    ],
    no: ["https://example.com/", "pypi.org:22", "upload.pypi.org", "8.8.8.8:443", "10.0.0.1:443"],
  },
  "one-api": {
    yes: ["https://api.example.com/", "http://api.example.com/"],
    no: ["www.example.com", "example.com", "api.example.com:8443", "api.example.com:443/udp"],
  },
  "no-private-networks": {
    yes: ["https://example.com/", "8.8.8.8:53/udp", "[2606:4700::1111]:443"],
    no: ["10.0.0.1:22", "192.168.1.1:80", "[fd00::1]:443", "169.254.169.254:80", "100.64.0.1:443"],
  },
  "ci-runner": {
    yes: [
      "https://github.com/",
      "github.com:22",
      "https://pipelines.actions.githubusercontent.com/",
      "0.debian.pool.ntp.org:123/udp",
      "http://deb.debian.org/",
    ],
    no: ["gist.github.com", "raw.githubusercontent.com", "10.0.0.1:443", "pool.ntp.org:123/tcp"],
  },
  "lan-database": {
    yes: ["10.0.0.5:5432"],
    no: ["10.0.0.5:22", "10.0.0.6:5432", "https://example.com/", "8.8.8.8:443"],
  },
  "everything-but": {
    yes: ["https://example.com/", "192.168.1.1:80", "8.8.8.8:53/udp", "10.example:443"],
    no: ["a.tracker.example", "tracker.example", "10.1.2.3:443", "8.8.8.8:25", "192.0.2.1:443"],
  },
  "browser": {
    yes: ["https://example.com/", "https://www.example.com/", "https://fonts.example.net/"],
    no: ["https://example.net/", "www.example.com:443/udp", "8.8.8.8:443"],
  },
};

const recipes = [...Deno.readDirSync(new URL(`${RECIPES}/`, ROOT))].map(({ name }) => name).sort();

Deno.test("every recipe has its verdicts here, and a place in docs/policy.md", () => {
  assertEquals(recipes, Object.keys(VERDICTS).map((name) => `${name}.yaml`).sort());
  const text = read("docs/policy.md");
  assertEquals(recipes.filter((name) => !text.includes(`../${RECIPES}/${name}`)), []);
});

for (const name of recipes) {
  Deno.test(`${RECIPES}/${name} lets through what it is for, and no more`, async () => {
    const path = `${RECIPES}/${name}`;
    const { network } = resolveConfig({ file: { name: path, text: read(path) } }).settings;
    const policy = policyOf(network.policy);
    const allows = (text: string): boolean => {
      const target = parseTarget(text);
      assert(typeof target !== "string", `${text}: ${target}`);
      return explain(policy, target, { isHost: () => false }, 0).allowed;
    };
    const { yes, no } = VERDICTS[name.replace(".yaml", "")]!;
    assertEquals(yes.filter((text) => !allows(text)), []);
    assertEquals(no.filter(allows), []);
    const file = new URL(path, ROOT).pathname;
    const { code, stderr } = await runCli([`--allow-read=${file}`], "check", "--config", file);
    assertEquals(code, 0, stderr);
  });
}

Deno.test("the configurations in docs/policy.md and the README can be used", () => {
  let blocks = 0;
  for (const document of ["docs/policy.md", "docs/guests.md", "README.md"]) {
    for (const [, text] of read(document).matchAll(/^```yaml\n(.*?)^```$/gms)) {
      resolveSources({ file: { name: `a block of ${document}`, text: text! } });
      blocks++;
    }
  }
  assert(blocks >= 5, `${blocks}`);
});

Deno.test("docs/guests.md shows examples/guests.yaml, with the addresses that its guests get", () => {
  const path = "examples/guests.yaml";
  const text = read(path);
  const [block = ""] = /^control:[^]*/m.exec(text) ?? [];
  assert(read("docs/guests.md").includes(`\`\`\`yaml\n${block}\`\`\``));
  const resolved = resolveSources({ file: { name: path, text } });
  assert(resolved.kind === "guests");
  for (const { name, settings: { network: { guestNetwork } } } of resolved.guests) {
    const [ip] = guestNetwork.guestIp!.split("/");
    assert(text.includes(`- name: ${name} # ${name}.internal, ${ip}\n`), name);
    assert(text.includes(`the gateway is ${guestNetwork.gatewayIp},`));
  }
});

Deno.test("the programs of docs/policy.md run", async () => {
  const path = new URL("docs/policy.md", ROOT).pathname;
  const permissions = ["--allow-net=127.0.0.1,[::1]", "--no-prompt"];
  await mustRun([Deno.execPath(), "test", "--quiet", "--doc", ...permissions, path], 120_000);
});

Deno.test("examples/fence.ts judges a guest, and prints what was refused and why", async () => {
  await using folder = await Folder.make();
  const path = folder.file("vm.sock");
  const example = new URL("examples/fence.ts", ROOT).pathname;
  await using program = new BackgroundProgram([
    ...[Deno.execPath(), "run", "--check", "--no-prompt", "--allow-net", "--deny-net=192.88.98.1"],
    ...[`--allow-read=${path}`, `--allow-write=${path}`, example, `unix:${path}`],
    ...["api.example.com", "192.88.98.1:9/tcp"],
  ]);
  await program.line(/^waiting for the guest at /, 0, 120_000);
  await using guest = EmbeddedGuest.attach(await Deno.connect({ transport: "unix", path }));
  await guest.lease();

  assertEquals((await guest.resolve("elsewhere.example", "A")).code, "REFUSED");
  await program.line(/^DENY {2}dns elsewhere\.example {2}by default-deny \(policy\.allow\[0\]\): /);
  await program.line(/^allow it with {2}policy: \{ allow: \["elsewhere\.example"\] \}$/);
  const forbidden = await guest.connect("10.0.0.1", 80).catch((error: Error) => error);
  assert(forbidden instanceof Error);
  await program.line(/^DENY {2}tcp 10\.0\.0\.1:80 {2}by protect strict: /);
  // The judge is asked, and then Deno's permissions keep the connect from leaving.
  const prohibited = await guest.connect("192.88.98.1", 9).catch((error: Error) => error);
  assert(prohibited instanceof Error);
  await program.line(/^ALLOW tcp 192\.88\.98\.1 port 9$/);

  await guest.close();
  assertEquals((await program.end("SIGCONT")).code, 0);
});

Deno.test("the command line that the recipes name is this one", () => {
  for (const name of recipes) {
    assert(read(`${RECIPES}/${name}`).includes(`${RECIPES}/${name}`), name);
  }
  assertEquals(CLI, new URL("cli.ts", ROOT).pathname);
});
