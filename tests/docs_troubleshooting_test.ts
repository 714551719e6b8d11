/**
 * docs/troubleshooting.md quotes the program: each text of it is one that the code prints, some are
 * seen in real runs, its commands are understood, its counters counted, its rules rules.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { parseArguments } from "../lib/cli/arguments.ts";
import { resolveConfig } from "../lib/config/resolve.ts";
import { ALL_SETTINGS } from "../lib/config/settings.ts";
import { connectEngine } from "../lib/fleet/engine_transport.ts";
import { DNS_COUNT_HELP } from "../lib/host/dns_counts.ts";
import { policyBucket } from "../lib/fleet/names.ts";
import { provision } from "../lib/fleet/provision.ts";
import { COUNTER_NAMES } from "../lib/stack/counters.ts";
import { askPermissions, ControlProgram } from "./cli/control_program.ts";
import { Folder, runCli, runCliWith } from "./cli/cli_process.ts";
import { NatsServer } from "./support/nats_server.ts";

const ROOT = new URL("../", import.meta.url);
const TEXT = Deno.readTextFileSync(new URL("docs/troubleshooting.md", ROOT));

/** The lines of all blocks of a language. */
function lines(language: string): string[] {
  return [...TEXT.matchAll(/^( *)```(\w+)\n([^]*?)^ *```$/gm)]
    .filter(([, , name]) => name === language)
    .flatMap(([, , , block]) => block!.trim().split(/\n */));
}

/** What the program says. */
const QUOTED = lines("log");

/** The sources with each text in one piece, and `…` for what is put into it. */
function sources(folder: string): string {
  return [...Deno.readDirSync(new URL(folder, ROOT))].map(({ name, isDirectory }) => {
    if (isDirectory) return name === "page" ? "" : sources(`${folder}${name}/`);
    if (!name.endsWith(".ts") || name === "dashboard_files.ts") return "";
    return Deno.readTextFileSync(new URL(folder + name, ROOT))
      .replace(/["`] *\+\s*["`]/g, "")
      .replace(/\$\{(?:[^{}]|\{[^{}]*\})*\}/g, "…")
      .replaceAll('\\"', '"');
  }).join("\n");
}

/** What stands between pieces of a text: values, also those that are the same each time. */
const BETWEEN =
  /…|[.:;] | reason=|\.\/virtio-gateway\.control\.sock|VIRTIO_GATEWAY_CONTROL|--control(?:-token)?\b| -p\b/;

/** What of a quoted line never differs, piece by piece: a message, its hint, a field of the log. */
function pieces(line: string): string[] {
  return line.replace(/^denied (?:dns|tcp|udp)\b/, "denied …")
    .split(BETWEEN)
    .map((piece) => piece.replace(/^[\s:;,."]+|[\s:;,."]+$/g, ""))
    .filter((piece) => piece.length > 3);
}

/** The one quoted line that begins with these words, as a pattern of what the program prints. */
function quoted(start: string): RegExp {
  const found = QUOTED.filter((line) => line.startsWith(start));
  assertEquals(found.length, 1, `one line begins with "${start}"`);
  const escaped = found[0]!.split("…").map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(escaped.join("[^\\n]*"));
}

Deno.test("each text of the program in docs/troubleshooting.md is in its sources", () => {
  const code = sources("lib/");
  const absent = QUOTED.flatMap((line) => {
    const parts = pieces(line);
    assert(parts.length > 0, line);
    return parts.filter((piece) => !code.includes(piece)).map((piece) => `${line} | ${piece}`);
  });
  assertEquals(absent, []);
});

Deno.test("each command in docs/troubleshooting.md is understood", () => {
  const alias = lines("sh").find((line) => line.startsWith("alias vg="))!;
  assertMatch(alias, /^alias vg='deno run( --allow-\w+)+ cli\.ts'$/);
  const inline = [...TEXT.matchAll(/`vg ([^`]+)`/g)].map(([, words]) => words!);
  const blocks = lines("sh").flatMap((line) => line.startsWith("vg ") ? [line.slice(3)] : []);
  const commands = [...inline, ...blocks];
  assert(commands.length > 20);
  for (const command of commands) parseArguments(command.split(" "));
  // Flags that stand alone are of `run`.
  const flags = [...TEXT.matchAll(/`((?:-p|--(?!allow-)[a-z0-9-]+)(?: [^`]+)?)`/g)];
  const ofRun = flags.map(([, words]) => words!).filter((words) => {
    return !/^--(?:snap|ascii|no-color|control$|control-token$|listen$|mtu$|guest-|gateway-)/
      .test(words) && words.includes(" ");
  });
  assert(ofRun.length > 8);
  for (const words of ofRun) {
    const { flags } = parseArguments(["run", ...words.split(" "), "--capture", "vm1.pcapng"]);
    resolveConfig({ flags });
  }
});

Deno.test("counters, keys and rules in docs/troubleshooting.md are there", () => {
  const counters = [...TEXT.matchAll(/`((?:rx|tx|drop|icmp|dhcp|tcp|policy)\.[a-z.]+)`/gi)]
    .map(([, name]) => name!).filter((name) => /\.[a-z.]*[a-z]$/.test(name));
  assert(counters.length > 15);
  const names: readonly string[] = COUNTER_NAMES;
  assertEquals(counters.filter((name) => !names.includes(name)), []);
  const outcomes = [
    "denied",
    "failedTimeout",
    "failedNetwork",
    "stripped",
    "questions",
    "answered",
  ];
  for (const name of [...outcomes, "triesFailed"]) {
    assert(TEXT.includes(`\`${name}\``) && name in DNS_COUNT_HELP, name);
  }
  const limits = [...TEXT.matchAll(/`(limits\.\w+)`/g)].map(([, key]) => key!);
  const keys = ALL_SETTINGS.map(({ key }) => key);
  assertEquals(limits.filter((key) => !keys.includes(key)), []);
  for (const [, text] of TEXT.matchAll(/^ *```yaml\n([^]*?)^ *```$/gm)) {
    const indent = /^ */.exec(text!)![0];
    resolveConfig({
      file: { name: "page", text: text!.replaceAll(new RegExp(`^${indent}`, "gm"), "") },
    });
  }
  const rules = [...TEXT.matchAll(/`"([^"`]+)"`/g)].map(([, rule]) => rule!);
  assert(rules.length > 0);
  resolveConfig({ flags: { allow: rules } });
});

Deno.test("each symptom stands in the list at the head", () => {
  const headings = [...TEXT.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading!);
  const linked = [...TEXT.slice(0, TEXT.indexOf("\n## ")).matchAll(/\]\(#([\w-]+)\)/g)];
  const anchors = headings.map((heading) => {
    return heading.toLowerCase().replace(/[^\w -]/g, "").replaceAll(" ", "-");
  });
  assertEquals(linked.map(([, anchor]) => anchor!).toSorted(), anchors.toSorted());
});

Deno.test("commands without a gateway say what docs/troubleshooting.md quotes", async () => {
  await using folder = await Folder.make();
  const cwd = { cwd: folder.path };
  const may = askPermissions(folder);
  const runs: readonly [start: string, code: number, may: string[], ...args: string[]][] = [
    ["no gateway is named, and there is", 4, may, "status"],
    ["no gateway is named, and Deno may", 3, ["--allow-net"], "status"],
    ["no gateway answers on …: there is", 4, may, "status", "--control", "unix:./none"],
    ["--control: on TCP", 2, may, "status", "--control", "tcp:127.0.0.1:1"],
    ["top needs a terminal", 2, may, "top"],
    ["cannot …: Deno has no permission", 3, [], "run", "--listen", "unix:./vm.sock"],
    ["cannot listen on …: no such file", 2, may, "run", "--listen", "unix:./none/vm.sock"],
    ["cannot listen on …: a file", 1, may, "run", "--listen", "unix:./plain"],
    ["cannot capture to", 2, may, "run", "--listen", "unix:./vm.sock", "--capture", "none/x"],
    [
      "cannot publish …: … Is it",
      1,
      may,
      "run",
      "--listen",
      "unix:./vm.sock",
      "-p",
      "192.0.2.1:0:1",
    ],
  ];
  await Deno.writeTextFile(folder.file("plain"), "");
  for (const [start, code, permissions, ...args] of runs) {
    const outcome = await runCliWith(cwd, permissions, ...args);
    assertMatch(outcome.stderr, quoted(start));
    assertEquals(outcome.code, code, outcome.stderr);
  }
});

Deno.test("a gateway says what docs/troubleshooting.md quotes", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder, "-p", "0:80", "--allow", "a.example");
  const { program } = gateway;
  const may = askPermissions(folder);
  const started = program.lines.join("\n");
  assertMatch(started, quoted("the control interface is on"));
  const [, port] = /published 127\.0\.0\.1:(\d+)/.exec(started)!;
  const listen = ["run", "--listen", `unix:${folder.file("vm.sock")}`];
  const second = await runCli(may, ...listen);
  assertMatch(second.stderr, quoted("cannot listen on …: a live process"));
  const tcp = await runCli(may, "run", "--listen", `tcp:127.0.0.1:${port}`);
  assertMatch(tcp.stderr, quoted("cannot listen on …: the address"));
  const publishing = [...listen.slice(0, 2), `unix:${folder.file("b.sock")}`, "-p", `${port}:80`];
  assertMatch((await runCli(may, ...publishing)).stderr, quoted("cannot publish …: the address"));

  const path = folder.file("vm.sock");
  const client = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
  assertEquals(await client.read(new Uint8Array(1)).catch(() => null), null, "no guest is there");
  client.close();
  const wrong = await Deno.connect({ transport: "unix", path });
  await wrong.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
  await program.line(quoted("closing the link"));
  await program.line(quoted('guest left reason="broken'));
  wrong.close();

  const guest = await gateway.attach();
  assertEquals((await guest.resolve("b.example", "A")).code, "REFUSED");
  await program.line(quoted("denied dns …: no rule"));
  await guest.connect("9.9.9.9", 443).then((conn) => conn.close(), () => {});
  await program.line(quoted("denied tcp …: no rule allows this"));
  const other = await Deno.connect({ transport: "unix", path });
  await program.line(quoted("a second VMM was turned away"));
  other.close();
  const from = program.lines.length;
  await guest.close();
  await program.line(quoted('guest left reason="closed'), from);
  assertMatch(
    (await gateway.ask("status", "--control", gateway.control)).stdout,
    /^guest +none is attached$/m,
  );
  await Deno.remove(path);
  await program.line(quoted("the socket's file was removed"));
});

Deno.test("a gateway of a fleet says what docs/troubleshooting.md quotes", async () => {
  await using engine = await NatsServer.start({
    config: "authorization { users: [\n" +
      "{ user: operator, password: o }\n" +
      '{ user: vm1, password: v, permissions: { publish: ["$JS.API.>", "_INBOX.>"], ' +
      'subscribe: ["_INBOX.>", "$KV.>"] } }\n] }',
  });
  await using folder = await Folder.make();
  const modules = new URL("../", import.meta.url).pathname;
  const words = [
    ...["--fleet", engine.url, "--fleet-gateway", "vm1", "--fleet-dir", folder.file("fleet")],
    ...["-p", "0:80", "--fleet-service", "web=80"],
  ];
  const may = [`--allow-read=${folder.path},${modules}`, `--allow-write=${folder.path}`];
  const refused = await ControlProgram.startWith(may, folder, ...words);
  await refused.program.line(quoted("everything is closed until"));
  await refused.program.line(quoted("the fleet's engine does not let"));
  await refused.program.line(quoted("a service has no name"));
  const { stdout } = await refused.ask("status", "--control", refused.control);
  for (const text of ["refused by the engine", "policy: none has come yet"]) {
    assert(stdout.includes(text) && TEXT.includes(`\`${text}\``), stdout);
  }
  await refused[Symbol.asyncDispose]();

  const credentials = folder.file("engine.yaml");
  await Deno.writeTextFile(credentials, "user: vm1\npassword: v\n", { mode: 0o600 });
  await using gateway = await ControlProgram.startWith(
    may,
    folder,
    ...[...words, "--fleet-credentials", credentials],
  );
  const { program } = gateway;
  await program.line(quoted("the fleet's engine does not permit to"));
  await program.line(quoted("there is no bucket"));
  const operator = await connectEngine({ servers: engine.url, user: "operator", pass: "o" });
  const bucket = policyBucket("default");
  await new Kvm(jetstream(operator)).create(bucket, { description: "another's" });
  await program.line(quoted("the bucket … is foreign"));
  await (await jetstreamManager(operator)).streams.delete(`KV_${bucket}`);
  await provision(operator, "default");
  await program.line(quoted("the fleet's policy is refused; everything"));
  await program.line(quoted("the bucket … never had a document"));
  const documents = await new Kvm(jetstream(operator)).open(bucket);
  await documents.put("fleet", "deny: [metadata]\n");
  await program.line(/the fleet's policy is in force/);
  await documents.put("fleet", "alow: []\n");
  await program.line(quoted("the fleet's policy is refused; the last"));
  await operator.close();
});
