/** `run` with several guests, as a process: its lines, its signals, its reloads, and what stops it. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { GatewayClient, parseEndpoint } from "../../lib/control/client.ts";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { parseMac } from "../../lib/wire/address.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { BackgroundProgram, runProgram, until } from "../guest/program.ts";
import { cliWords, Folder, runCli } from "./cli_process.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const MEMORIES = [0, 1].map(() => new FrameMemory(64 * 1024 * 1024));

/** What serving guests at sockets of a folder takes, in workers too. */
function permissions({ path }: Folder): string[] {
  return ["--allow-net", `--allow-read=${path},${ROOT}`, `--allow-write=${path}`];
}

/** A file with two guests, `web` and `db`, and more lines. */
async function writeFile(folder: Folder, ...more: string[]): Promise<string> {
  const path = folder.file("gateway.yaml");
  const lines = [
    "dns: { upstreams: 127.0.0.1:1 }",
    "guests:",
    `  - { name: web, listen: unix:${folder.file("web.sock")} }`,
    `  - { name: db, listen: unix:${folder.file("db.sock")} }`,
    ...more,
  ];
  await Deno.writeTextFile(path, lines.join("\n"));
  return path;
}

/** Starts `run` and waits until all guests are served. */
async function startRun(folder: Folder, ...args: string[]): Promise<BackgroundProgram> {
  const words = ["run", "--config", folder.file("gateway.yaml"), ...args];
  const gateway = new BackgroundProgram(cliWords(permissions(folder), words));
  try {
    await gateway.line(/\bready with\b/);
  } catch (error) {
    await gateway[Symbol.asyncDispose]();
    throw error;
  }
  return gateway;
}

async function attach(folder: Folder, name: string, number: number): Promise<EmbeddedGuest> {
  const conn = await Deno.connect({ transport: "unix", path: folder.file(`${name}.sock`) });
  const mac = parseMac(`02:53:4d:00:0${number}:02`)!;
  const guest = EmbeddedGuest.attach(conn, { memory: MEMORIES[number]!, mac });
  await guest.lease();
  return guest;
}

Deno.test("each guest has its ready line and its ports, and all of them a last one", async () => {
  await using folder = await Folder.make();
  await writeFile(folder, "  - { name: job, listen: tcp:127.0.0.1:0, publish: [0:80] }");
  await using gateway = await startRun(folder, "--workers", "2");
  const [web, db] = ["web", "db"].map((name) => folder.file(`${name}.sock`));
  const text = gateway.lines.join("\n");
  assertStringIncludes(
    text,
    `ready guest web: listening on unix:${web} | QEMU: -netdev stream,id=net0,server=off,` +
      `addr.type=unix,addr.path=${web} -device virtio-net-pci,netdev=net0,mac=02:53:4d:00:00:02 | `,
  );
  assertStringIncludes(text, `ready guest db: listening on unix:${db} | QEMU: `);
  assertMatch(text, /^ready guest job: listening on tcp:127\.0\.0\.1:[1-9][0-9]* \| QEMU: /m);
  assertMatch(text, /^warning: TCP is not private: .* use unix:\/path instead guest=job$/m);
  assertMatch(text, /^published 127\.0\.0\.1:[1-9][0-9]* as the guest's port 80 guest=job$/m);
  assertEquals(gateway.lines.at(-1), "ready with 3 guests in 2 workers: web, db, job");
  await using guest = await attach(folder, "db", 1);
  assertEquals((await guest.lease()).address, "100.96.0.6");
  assertEquals(await gateway.end("SIGTERM"), { code: 0, forced: false });
  assertStringIncludes(gateway.lines.join("\n"), "SIGTERM: stopping");
  const left = await Array.fromAsync(Deno.readDir(folder.path), ({ name }) => name);
  assertEquals(left, ["gateway.yaml"]);
});

Deno.test("in JSON the lines carry the guest's name, those of its flows too", async () => {
  await using folder = await Folder.make();
  await writeFile(folder, "policy: { deny: [192.0.2.0/24] }", "workers: 0");
  await using gateway = await startRun(folder, "--log-format", "json");
  await using guest = await attach(folder, "db", 1);
  await guest.connect("192.0.2.1", 80).catch(() => {});
  await gateway.line(/"denied /);
  const lines = gateway.lines.map((line) => JSON.parse(line));
  const ready = lines.filter(({ message }) => message.startsWith("ready guest"));
  assertEquals(ready.map(({ guest }) => guest), ["web", "db"]);
  assert(ready.every(({ join }) => join.QEMU.startsWith("-netdev stream")));
  const denied = lines.find(({ message }) => message.startsWith("denied"));
  assertEquals(denied.guest, "db");
  assert(lines.some(({ message }) => message === "ready with 2 guests: web, db"));
});

Deno.test("SIGHUP puts all policies into force or none, and says what needs a restart", async () => {
  await using folder = await Folder.make();
  const control = `control: unix:${folder.file("control.sock")}`;
  const path = await writeFile(folder, control, "policy: { deny: [a.test] }");
  await using gateway = await startRun(folder);
  const client = (guest: string): GatewayClient =>
    new GatewayClient(parseEndpoint(`unix:${folder.file("control.sock")}`), { guest });
  const denied = async (): Promise<(readonly string[])[]> => [
    (await client("web").policy()).deny,
    (await client("db").policy()).deny,
  ];
  const hup = async (line: RegExp): Promise<string> => {
    const from = gateway.lines.length;
    Deno.kill(gateway.pid, "SIGHUP");
    return await gateway.line(line, from);
  };
  assertEquals(await denied(), [["a.test"], ["a.test"]]);
  await writeFile(folder, control, "policy: { deny: [b.test], alow: [] }");
  assertStringIncludes(
    await hup(/nothing has changed/),
    `SIGHUP: nothing has changed: ${path}:6:27 unknown key "alow" in policy; did you mean "allow"?`,
  );
  assertEquals(await denied(), [["a.test"], ["a.test"]]);
  await writeFile(
    folder,
    `  - { name: job, listen: unix:${folder.file("job.sock")}, policy: { deny: [c.test] } }`,
    control,
    "policy: { deny: [b.test] }",
    "rate: { up: 10MB }",
    "grace: 1",
  );
  const text = await Deno.readTextFile(path);
  await Deno.writeTextFile(path, text.replace("db.sock }", "db.sock, policy: { deny: [] } }"));
  assertEquals(
    await hup(/in force/),
    `SIGHUP: the policy of ${path} is in force rules=1`,
  );
  await gateway.line(
    /^warning: SIGHUP: .* needs a restart: grace, rate\.up of guest web, rate\.up of guest db, guest job \(added\)$/,
  );
  assertEquals(await denied(), [["b.test"], []]);
  await Deno.writeTextFile(path, "policy: { deny: [d.test] }");
  assertStringIncludes(
    await hup(/nothing has changed/),
    "nothing has changed: it lists no guests, where several are served. Restart the gateway",
  );
  assertEquals(await denied(), [["b.test"], []]);
  assertEquals(await gateway.end("SIGINT"), { code: 0, forced: false });
});

Deno.test("where one guest can't be served, none is", async () => {
  await using folder = await Folder.make();
  const path = await writeFile(folder);
  using _taken = Deno.listen({ transport: "unix", path: folder.file("db.sock") });
  const outcome = await runCli(permissions(folder), "run", "--config", path);
  assertEquals(outcome.code, 1);
  assertStringIncludes(
    outcome.stderr,
    `guest "db": cannot listen on unix:${folder.file("db.sock")}: a live process serves it`,
  );
  assert(!outcome.stderr.includes("ready"), outcome.stderr);
});

Deno.test("a permission that lacks is told by its flag, the modules of a worker among them", async () => {
  await using folder = await Folder.make();
  const path = await writeFile(folder);
  const some = ["--allow-net", `--allow-read=${path}`];
  const first = await runCli(some, "run", "--config", path);
  assertEquals(first.code, 3);
  assertStringIncludes(first.stderr, `Add --allow-read=${folder.file("web.sock")}`);
  const without = ["--allow-net", `--allow-read=${folder.path}`, `--allow-write=${folder.path}`];
  const second = await runCli(without, "run", "--config", path);
  assertEquals([second.code, second.stderr], [
    3,
    `error: Deno may not read what a worker runs. Add --allow-read=${ROOT}; ` +
    "or serve all guests without workers: workers 0\n",
  ]);
});

Deno.test("the line that check prints is enough for run", async () => {
  await using folder = await Folder.make();
  const path = await writeFile(folder, `control: unix:${folder.file("control.sock")}`);
  const checked = await runCli([`--allow-read=${path}`], "check", "--config", path, "--json");
  const { permissions } = JSON.parse(checked.stdout) as { permissions: string[] };
  await using gateway = new BackgroundProgram(cliWords(permissions, ["run", "--config", path]));
  await gateway.line(/\bready with 2 guests in /);
  assertEquals(await gateway.end("SIGTERM"), { code: 0, forced: false });
});

Deno.test("under once it ends with its last guest", async () => {
  await using folder = await Folder.make();
  await writeFile(folder, "once: true", "workers: 0");
  await using gateway = await startRun(folder);
  const web = await attach(folder, "web", 0);
  const db = await attach(folder, "db", 1);
  await web.close();
  await gateway.line(/guest=web/);
  assertEquals(await db.ping("100.96.0.5") >= 0, true);
  assert(!gateway.ended);
  await db.close();
  await until("it has ended", () => gateway.ended);
});

Deno.test("stdin can't be read again, and a service manager is told once all are served", async () => {
  await using folder = await Folder.make();
  const socket = folder.file("notify.sock");
  const manager = Deno.listenDatagram({ transport: "unixpacket", path: socket });
  const text = await Deno.readTextFile(await writeFile(folder, "workers: 0"));
  const words = cliWords(
    [...permissions(folder), "--unstable-net", "--allow-env=NOTIFY_SOCKET"],
    ["run", "--config", "-"],
  );
  // The shell's process becomes the gateway's.
  const line = 'NOTIFY_SOCKET=$1 exec "${@:3}" < <(echo "$2")';
  await using gateway = new BackgroundProgram([
    ...["bash", "-c", line, "bash", socket, text],
    ...words,
  ]);
  const [state] = await manager.receive();
  manager.close();
  assertEquals(new TextDecoder().decode(state), "READY=1");
  Deno.kill(gateway.pid, "SIGHUP");
  await gateway.line(/SIGHUP: stdin can't be read again; nothing has changed/);
  assertEquals(await gateway.end("SIGTERM"), { code: 0, forced: false });
});

Deno.test("a second signal ends all guests at once", async () => {
  await using folder = await Folder.make();
  await writeFile(folder, "grace: 600", "hostLoopback: true");
  await using gateway = await startRun(folder);
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using guest = await attach(folder, "web", 0);
  const accepted = host.accept();
  await guest.connect("100.96.0.1", host.addr.port);
  using _peer = await accepted;
  Deno.kill(gateway.pid, "SIGTERM");
  await gateway.line(/stopping; queued bytes may drain for 600 s/);
  Deno.kill(gateway.pid, "SIGINT");
  await gateway.line(/SIGINT again: exiting at once/);
  await until("it has ended", () => gateway.ended);
});

Deno.test("flags of one guest's settings are refused with the way out", async () => {
  await using folder = await Folder.make();
  const path = await writeFile(folder);
  const words = [...cliWords(permissions(folder), ["run", "--config", path, "--mtu", "9000"])];
  const { code, stderr } = await runProgram(words);
  assertEquals([code, stderr], [
    2,
    `--mtu: ${path} lists several guests; write guestNetwork.mtu there, under a guest, ` +
    `or beside "guests" for all of them\n`,
  ]);
});
