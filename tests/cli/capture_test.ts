/** `capture` as a process, and `run --capture`. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { readPcapng } from "../capture/read_pcapng.ts";
import { BackgroundProgram, until } from "../guest/program.ts";
import { GATEWAY4 } from "../support/packets.ts";
import { cliWords, Folder, runCli, runCliWith } from "./cli_process.ts";
import { askPermissions, ControlProgram } from "./control_program.ts";

Deno.test("capture -w FILE writes until a signal, and the file is whole and private", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  const guest = await gateway.attach();
  const path = folder.file("part.pcapng");
  const words = ["capture", "-w", path, "--filter", "icmp", "--control", gateway.control];
  await using program = new BackgroundProgram(cliWords(askPermissions(folder), words));
  await until("the file begins", () => size(path) > 0);
  await guest.ping(GATEWAY4);
  await until("both packets are there", () => packetsIn(path) >= 2);
  assertEquals((await program.end("SIGINT")).code, 0);
  assertMatch(program.lines.join("\n"), /^\d+ bytes are in .*part\.pcapng$/);
  const { packets, interface: { filter } } = readPcapng(await Deno.readFile(path));
  assertEquals([packets.length >= 2, filter], [true, "icmp"]);
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
});

Deno.test("capture goes to a pipe, and ends when whoever reads it does", async () => {
  await using folder = await Folder.make();
  await using gateway = await ControlProgram.start(folder);
  const [program = "", ...args] = cliWords(askPermissions(folder), [
    ...["capture", "-w", "-", "--control", gateway.control],
  ]);
  const child = new Deno.Command(program, { args, stdout: "piped", stderr: "piped" }).spawn();
  const reader = child.stdout.getReader();
  const first = (await reader.read()).value!;
  assertEquals(first.subarray(0, 4).toHex(), "0a0d0d0a");
  await reader.cancel();
  const guest = await gateway.attach();
  await guest.ping(GATEWAY4);
  const { code } = await child.status;
  assertEquals([code, await new Response(child.stderr).text()], [0, ""]);
});

Deno.test("capture says what is wrong, and makes no file then", async () => {
  await using folder = await Folder.make();
  const path = folder.file("part.pcapng");
  const ask = (permissions: string[], ...words: string[]) =>
    runCliWith({ cwd: folder.path }, permissions, "capture", ...words);
  const filter = await ask([], "--filter", "port http");
  assertEquals([filter.code, filter.stderr], [
    2,
    `--filter: "http" is not a port from 0 to 65535\n`,
  ]);
  for (const octets of ["all", "13"]) {
    const snap = await ask([], "--snap", octets);
    const wanted = "a whole number of octets from 14 to 262144";
    assertEquals([snap.code, snap.stderr], [2, `--snap: "${octets}" is not ${wanted}\n`]);
  }
  const permission = await ask([], "-w", path);
  assertEquals([permission.code, permission.stderr], [
    3,
    `cannot write ${path}: Deno has no permission for it. Add --allow-write=${path}\n`,
  ]);
  const control = ["--control", `unix:${folder.file("control.sock")}`];
  const nobody = await ask(askPermissions(folder), "-w", path, ...control);
  assertEquals(nobody.code, 4);
  assertEquals(size(path), -1);
});

Deno.test("run --capture writes a file that is whole when the gateway has stopped", async () => {
  await using folder = await Folder.make();
  const path = folder.file("vm.pcapng");
  {
    await using gateway = await ControlProgram.start(folder, "--capture", path);
    const guest = await gateway.attach();
    await guest.ping(GATEWAY4);
    await guest.close();
    assertEquals((await gateway.program.end("SIGTERM")).code, 0);
  }
  const { packets, statistics } = readPcapng(await Deno.readFile(path));
  assert(packets.length >= 2);
  assertEquals(statistics.length, 1);
});

Deno.test("the permissions of --capture: check prints them, run names those that are missing", async () => {
  await using folder = await Folder.make();
  const path = folder.file("vm.pcapng");
  const words = ["--dns", "9.9.9.9", "--listen", "tcp:127.0.0.1:0", "--capture", path];
  const check = await runCli([], "check", ...words);
  assertEquals(check.code, 0);
  assertStringIncludes(
    check.stdout,
    `deno run --allow-net --allow-read=${path} --allow-write=${path},${path}.1 `,
  );
  assertStringIncludes(check.stdout, `\ncapture:\n  file: "${path}"`);
  const run = await runCli(["--allow-net"], "run", ...words);
  assertEquals(run.code, 3);
  assertStringIncludes(
    run.stderr,
    `cannot capture to ${path}: Deno has no permission for it. ` +
      `Add --allow-read=${path} --allow-write=${path},${path}.1`,
  );
  const half = await runCli(
    ["--allow-net", `--allow-read=${path}`, `--allow-write=${path}`],
    ...["run", ...words],
  );
  assertStringIncludes(half.stderr, `Add --allow-write=${path}.1`);
});

/** Packets of a file that may still be written: 0 as long as a block is cut. */
function packetsIn(path: string): number {
  try {
    return readPcapng(Deno.readFileSync(path)).packets.length;
  } catch {
    return 0;
  }
}

function size(path: string): number {
  try {
    return Deno.statSync(path).size;
  } catch {
    return -1;
  }
}
