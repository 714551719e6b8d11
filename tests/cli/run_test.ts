/** `run` as a process: what it says when it is ready, when something is wrong, and when it ends. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { GatewayClient, parseEndpoint } from "../../lib/control/client.ts";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { arpRequest, isArpReply } from "../guest/frames.ts";
import { BackgroundProgram, runProgram, until } from "../guest/program.ts";
import { RawVmm } from "../guest/raw_vmm.ts";
import { afterEcho, cliWords, Folder, runCli } from "./cli_process.ts";
import { freePort } from "../support/free_port.ts";

const ARP = arpRequest("100.96.0.2", "100.96.0.1");

/** What serving a unix socket in a folder takes. */
function permissions(folder: Folder): string[] {
  return ["--allow-net", `--allow-read=${folder.path}`, `--allow-write=${folder.path}`];
}

/** Starts `run` on `vm.sock` of the folder and waits for its ready line. */
async function startRun(folder: Folder, ...args: string[]): Promise<BackgroundProgram> {
  const words = [
    "run",
    "--listen",
    `unix:${folder.file("vm.sock")}`,
    "--dns",
    "127.0.0.1",
    ...args,
  ];
  const gateway = new BackgroundProgram(cliWords(permissions(folder), words));
  try {
    await gateway.line(/\bready\b/);
  } catch (error) {
    await gateway[Symbol.asyncDispose]();
    throw error;
  }
  return gateway;
}

/** A VMM that gets an answer shows that the gateway serves. */
async function assertServes(folder: Folder): Promise<void> {
  await using vmm = await RawVmm.connect(`unix:${folder.file("vm.sock")}`);
  await vmm.send(ARP);
  await until("an ARP reply", () => vmm.frames.some(isArpReply));
}

Deno.test("the ready line begins with that word and has the arguments of the VMMs", async () => {
  await using folder = await Folder.make();
  await using gateway = await startRun(folder, "-p", "0:80", "--mtu", "9000");
  const path = folder.file("vm.sock");
  const line = gateway.lines.find((each) => each.startsWith("ready "))!;
  assertEquals(
    line,
    `ready listening on unix:${path} | QEMU: -netdev stream,id=net0,server=off,addr.type=unix,` +
      `addr.path=${path} -device virtio-net-pci,netdev=net0,mac=02:53:4d:00:00:02,host_mtu=9000` +
      ` | libkrun: krun_add_net_unixstream(ctx, "${path}", -1, mac, 0, 0)`,
  );
  assertMatch(
    gateway.lines.join("\n"),
    /^published 127\.0\.0\.1:[1-9][0-9]* as the guest's port 80$/m,
  );
  const { mode } = await Deno.lstat(path);
  assertEquals(mode! & 0o777, 0o600);
  await assertServes(folder);
});

Deno.test("an allow list that is given and empty is warned of, at the start and at a reload", async () => {
  await using folder = await Folder.make();
  const path = folder.file("gateway.yaml");
  await Deno.writeTextFile(path, "policy:\n  allow: []\n");
  await using gateway = await startRun(folder, "--config", path);
  const warned = () => gateway.lines.filter((line) => line.includes("closes nothing"));
  const said = `warning: ${path}:2:3 policy.allow is an empty list, which closes nothing: `;
  assert(warned()[0]!.startsWith(said), gateway.lines.join("\n"));
  Deno.kill(gateway.pid, "SIGHUP");
  await gateway.line(/^warning: SIGHUP: .* is an empty list, which closes nothing: /);
  await Deno.writeTextFile(path, "policy:\n  allow: [none.invalid]\n");
  Deno.kill(gateway.pid, "SIGHUP");
  await gateway.line(/SIGHUP: the policy of .* rules=1/);
  assertEquals(warned().length, 2);
});

Deno.test("SIGTERM and SIGINT end it with code 0 and without its socket", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    await using folder = await Folder.make();
    await using gateway = await startRun(folder);
    assertEquals(await gateway.end(signal), { code: 0, forced: false });
    assertStringIncludes(gateway.lines.at(-1)!, `${signal}: stopping`);
    assertEquals(await Array.fromAsync(Deno.readDir(folder.path)), []);
  }
});

/** Questions whose answers are never read fill the socket, then the gateway's own queue. */
async function fillWithAnswers(conn: Deno.Conn): Promise<void> {
  const framed = new Uint8Array(4 + ARP.length);
  framed.set([0, 0, 0, ARP.length]);
  framed.set(ARP, 4);
  const batch = new Uint8Array(framed.length * 1000).map((_, i) => framed[i % framed.length]!);
  for (let round = 0; round < 20; round++) {
    for (let at = 0; at < batch.length;) at += await conn.write(batch.subarray(at));
  }
}

Deno.test("no signal kills it while it ends, however often they come", async () => {
  for (const signal of ["SIGTERM", "SIGHUP"] as const) {
    await using folder = await Folder.make();
    await using gateway = await startRun(folder);
    Deno.kill(gateway.pid, "SIGTERM");
    const ending = gateway.end(signal);
    while (!gateway.ended) {
      gateway.signal(signal);
      await new Promise((resolve) => setTimeout(resolve));
    }
    const { code, forced } = await ending;
    // Where ending takes long, two SIGTERM may be far enough apart to be two.
    assert(code === 0 || signal === "SIGTERM" && code === 1, `${signal}: ${code}`);
    assertEquals(forced, false);
  }
});

Deno.test("a second signal does not wait for bytes that the guest never takes", async () => {
  await using folder = await Folder.make();
  await using gateway = await startRun(folder, "--grace", "600");
  using conn = await Deno.connect({ transport: "unix", path: folder.file("vm.sock") });
  await fillWithAnswers(conn);
  Deno.kill(gateway.pid, "SIGTERM");
  await gateway.line(/SIGTERM: stopping; queued bytes may drain for 600 s/);
  await afterEcho();
  assertEquals(await gateway.end("SIGTERM"), { code: 1, forced: false });
  assertStringIncludes(gateway.lines.join("\n"), "SIGTERM again: exiting at once");
  assertEquals(await Array.fromAsync(Deno.readDir(folder.path)), []);
});

Deno.test("a signal behind the control interface's stop is the first one", async () => {
  await using folder = await Folder.make();
  const control = `unix:${folder.file("control.sock")}`;
  await using gateway = await startRun(folder, "--grace", "600", "--control", control);
  using conn = await Deno.connect({ transport: "unix", path: folder.file("vm.sock") });
  await fillWithAnswers(conn);
  await new GatewayClient(parseEndpoint(control)).stop();
  await gateway.line(/stop: stopping; queued bytes may drain for 600 s/);
  Deno.kill(gateway.pid, "SIGTERM");
  await gateway.line(/SIGTERM: stopping already; another signal exits at once/);
  assertEquals(gateway.ended, false);
  assertEquals(await gateway.end("SIGINT"), { code: 1, forced: false });
  assertStringIncludes(gateway.lines.join("\n"), "SIGINT again: exiting at once");
});

Deno.test("--once ends with the guest, code 0", async () => {
  await using folder = await Folder.make();
  await using gateway = await startRun(folder, "--once");
  await assertServes(folder);
  await until("the gateway ended", () => gateway.ended);
  assertEquals((await gateway.end("SIGTERM")).code, 0);
  assertEquals(await Array.fromAsync(Deno.readDir(folder.path)), []);
});

Deno.test("a socket that a live gateway serves is not taken", async () => {
  await using folder = await Folder.make();
  await using gateway = await startRun(folder);
  const path = folder.file("vm.sock");
  const second = await runCli(permissions(folder), "run", "--listen", `unix:${path}`);
  assertEquals([second.code, second.stdout], [1, ""]);
  assertEquals(
    second.stderr,
    `error: cannot listen on unix:${path}: a live process serves it. ` +
      "Is another gateway running? Stop it, or choose another path\n",
  );
  await until("the probe has left", () => /guest left/.test(gateway.lines.join("\n")));
  await assertServes(folder);
});

Deno.test("a socket that a killed gateway left is replaced", async () => {
  await using folder = await Folder.make();
  await using killed = await startRun(folder);
  await killed.end("SIGKILL");
  assertEquals((await Deno.lstat(folder.file("vm.sock"))).isSocket, true);
  await using _gateway = await startRun(folder);
  await assertServes(folder);
});

Deno.test("a file that is no socket is left alone", async () => {
  await using folder = await Folder.make();
  const path = folder.file("vm.sock");
  await Deno.writeTextFile(path, "precious");
  const outcome = await runCli(permissions(folder), "run", "--listen", `unix:${path}`);
  assertEquals(outcome.code, 1);
  assertStringIncludes(outcome.stderr, `cannot listen on unix:${path}: a file is in the way`);
  assertEquals(await Deno.readTextFile(path), "precious");
});

Deno.test("a busy port names the port and the way out", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  await using folder = await Folder.make();
  const path = folder.file("vm.sock");
  const published = await runCli(
    permissions(folder),
    ...["run", "--listen", `unix:${path}`, "-p", `${port}:80`],
  );
  assertEquals([published.code, published.stdout], [1, ""]);
  assertEquals(
    published.stderr,
    `error: cannot publish 127.0.0.1:${port}: the address is in use. ` +
      `Try -p ${port + 1}:80, or -p 0:80 to pick a free port\n`,
  );
  assertEquals(await Array.fromAsync(Deno.readDir(folder.path)), []);
  const listening = await runCli(permissions(folder), "run", "--listen", `tcp:127.0.0.1:${port}`);
  assertEquals(listening.code, 1);
  assertStringIncludes(
    listening.stderr,
    `error: cannot listen on tcp:127.0.0.1:${port}: the address is in use. `,
  );
});

Deno.test("a VMM that is not there yet is waited for", async () => {
  await using folder = await Folder.make();
  const path = folder.file("qemu.sock");
  await using gateway = new BackgroundProgram(
    cliWords(permissions(folder), ["run", "--connect", `unix:${path}`]),
  );
  await gateway.line(/^ready connecting to unix:.*server=on/);
  await gateway.line(/^warning: cannot reach the VMM at unix:.*: no such file; trying again/);
  using vmm = Deno.listen({ transport: "unix", path });
  using conn = await vmm.accept();
  await conn.write(Uint8Array.of(0, 0, 0, ARP.length, ...ARP));
  const answer = new Uint8Array(100);
  assert((await conn.read(answer))! > 0);
  assertEquals(isArpReply(answer.subarray(4)), true);
  assertEquals(await gateway.end("SIGTERM"), { code: 0, forced: false });
});

Deno.test("a second VMM is turned away, the first one goes on", async () => {
  await using folder = await Folder.make();
  await using gateway = await startRun(folder);
  await using first = await RawVmm.connect(`unix:${folder.file("vm.sock")}`);
  await first.send(ARP);
  await until("an ARP reply", () => first.frames.some(isArpReply));
  await using second = await RawVmm.connect(`unix:${folder.file("vm.sock")}`);
  await until("the second one is closed", () => second.closedByGateway);
  await gateway.line(/^warning: a second VMM was turned away/);
  first.frames.length = 0;
  await first.send(ARP);
  await until("an ARP reply", () => first.frames.some(isArpReply));
});

Deno.test("a VMM that sends garbage loses its stream, the next one is served", async () => {
  await using folder = await Folder.make();
  await using gateway = await startRun(folder);
  {
    await using vmm = await RawVmm.connect(`unix:${folder.file("vm.sock")}`);
    await vmm.sendBytes(...new TextEncoder().encode("GET / HTTP/1.1\r\nHost: example\r\n\r\n"));
    await until("the gateway closes", () => vmm.closedByGateway);
  }
  await gateway.line(/closing the link: a frame's length/);
  await gateway.line(/guest left/);
  await assertServes(folder);
});

Deno.test("a missing permission is named, with code 3", async () => {
  const cases: [string[], string[], string][] = [
    [
      ["--allow-net", "--allow-read"],
      ["--listen", "unix:/run/vm1.sock"],
      "cannot listen on unix:/run/vm1.sock: Deno has no permission for it. " +
      "Add --allow-write=/run/vm1.sock",
    ],
    [
      [],
      [],
      "cannot listen on tcp:127.0.0.1:7654: Deno has no permission for it. " +
      "Add --allow-net=127.0.0.1:7654",
    ],
    [
      ["--allow-net=127.0.0.1"],
      ["-p", "0.0.0.0:8080:80"],
      "cannot publish 0.0.0.0:8080: Deno has no permission for it. Add --allow-net=0.0.0.0:8080",
    ],
    [
      ["--allow-net=127.0.0.1"],
      ["--connect", "tcp:10.0.0.1:1234"],
      "cannot connect to tcp:10.0.0.1:1234: Deno has no permission for it. " +
      "Add --allow-net=10.0.0.1:1234",
    ],
  ];
  for (const [allowed, args, message] of cases) {
    const outcome = await runCli(allowed, "run", ...args);
    assertEquals([outcome.code, outcome.stdout, outcome.stderr], [3, "", `error: ${message}\n`]);
  }
});

/** Runs the command line on a terminal of its own, without `--no-prompt`. */
async function onTerminal(words: string[]): Promise<{ code: number; text: string }> {
  const line = words.filter((word) => word !== "--no-prompt").join(" ");
  const outcome = await runProgram(["script", "-qec", line, "/dev/null"]);
  return { code: outcome.code, text: outcome.stdout.replaceAll("\r", "") };
}

Deno.test("nothing prompts on a terminal", async () => {
  const cases: [string[], string[], string][] = [
    [["--allow-net"], ["run", "--listen", "unix:/run/vm1.sock"], "Add --allow-read=/run/vm1.sock"],
    [[], ["run"], "Add --allow-net=127.0.0.1:7654"],
    [["--allow-net=127.0.0.1"], ["run", "-p", "0.0.0.0:1:80"], "Add --allow-net=0.0.0.0:1"],
    [[], ["check", "--config", "gateway.yaml"], "Add --allow-read=gateway.yaml"],
  ];
  for (const [allowed, args, hint] of cases) {
    const { code, text } = await onTerminal(cliWords(allowed, args));
    assertEquals(code, 3, text);
    assertStringIncludes(text, hint);
    assert(!/Allow\? \[/.test(text), text);
  }
});

Deno.test("a gateway with few permissions serves on a terminal without a question", async () => {
  const port = freePort();
  const words = cliWords([`--allow-net=127.0.0.1:${port}`], [
    ...["run", "--once", "--listen", `tcp:127.0.0.1:${port}`],
  ]).filter((word) => word !== "--no-prompt");
  await using gateway = new BackgroundProgram(["script", "-qec", words.join(" "), "/dev/null"]);
  await gateway.line(/ready listening on tcp:/);
  {
    await using vmm = await RawVmm.connect(`tcp:${port}`);
    await vmm.send(ARP);
    await until("an ARP reply", () => vmm.frames.some(isArpReply));
  }
  await until("the gateway ended", () => gateway.ended);
  assert(!/Allow\? \[/.test(gateway.lines.join("\n")), gateway.tail());
});

Deno.test("a flow that --allow-net leaves out is prohibited, and the log has its flag", async () => {
  const words = cliWords(["--allow-net=127.0.0.1"], ["run", "--listen", "tcp:127.0.0.1:0"]);
  await using gateway = new BackgroundProgram(words);
  const ready = await gateway.line(/^ready listening on tcp:/);
  const port = Number(/tcp:127\.0\.0\.1:([0-9]+)/.exec(ready)![1]);
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  await using guest = EmbeddedGuest.attach(conn);
  await guest.lease();
  await assertRejects(() => guest.connect("9.9.9.9", 443), GuestError);
  const line = await gateway.line(
    /^warning: a guest's destination is refused by Deno, not by the policy /,
  );
  assertStringIncludes(line, 'destination=9.9.9.9:443/tcp allow="--allow-net=9.9.9.9:443"');
});

Deno.test({
  name: "run: a VM socket needs --unstable-vsock, which Deno says itself",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const { code, stderr } = await runCli(["--allow-net"], "run", "--listen", "vsock:any:61024");
    assertEquals(code, 70);
    assertMatch(stderr, /--unstable-vsock/);
  },
});

Deno.test({
  name: "run: listens on a VM socket, and ends in order, where the kernel has them",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const args = ["run", "--listen", "vsock:any:61025"];
    const words = cliWords(["--unstable-vsock", "--allow-net"], args);
    await using gateway = new BackgroundProgram(words);
    // Deno tells nobody whether the kernel has them.
    const isReady = () =>
      gateway.lines.some((line) => /ready listening on vsock:any:61025$/.test(line));
    await until("it is ready, or has ended", () => isReady() || gateway.ended);
    assertMatch(gateway.tail(), /vsock:any:61025/);
    if (gateway.ended) return;
    assertMatch(gateway.tail(), /a VM socket is not private/);
    const { code } = await gateway.end("SIGTERM");
    assertEquals(code, 0);
  },
});
