/**
 * examples/virtio-gateway@.service, also with its drop-in for a fleet: systemd understands it, and its
 * command line does what the unit counts on: it tells the manager when the socket is there, reloads
 * at SIGHUP and ends at SIGTERM.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { CLI, Folder } from "./cli/cli_process.ts";
import { BackgroundProgram, runProgram } from "./guest/program.ts";
import { NatsServer } from "./support/nats_server.ts";
import { hasProgram } from "./support/programs.ts";

const UNIT = new URL("../examples/virtio-gateway@.service", import.meta.url);
const FLEET = new URL("../examples/virtio-gateway@.service.d/fleet.conf", import.meta.url);

/** The unit with each line that goes on in the next one joined to it. */
async function unitText(file = UNIT): Promise<string> {
  return (await Deno.readTextFile(file)).replace(/\\\n\s*/g, "");
}

/** The value of a key that is there once. */
function valueOf(unit: string, key: string): string {
  const [, value] = new RegExp(`^${key}=(.*)$`, "m").exec(unit) ?? [];
  assert(value !== undefined, key);
  return value;
}

Deno.test({
  name: "systemd finds nothing wrong with the unit",
  ignore: !await hasProgram("systemd-analyze"),
  async fn() {
    await using folder = await Folder.make();
    // The programs that it names have to exist.
    const text = (await Deno.readTextFile(UNIT)).replace("/usr/local/bin/deno", Deno.execPath());
    const path = folder.file("virtio-gateway@vm1.service");
    await Deno.writeTextFile(path, text);
    await verify(path);
    const security = await runProgram([
      ...["systemd-analyze", "security", "--offline=yes", "--threshold=25", path],
    ]);
    assertEquals(security.code, 0, security.stdout);
    // The same with the drop-in, which is read: what it says wrong is found.
    await Deno.mkdir(folder.file("virtio-gateway@.service.d"));
    const dropIn = folder.file("virtio-gateway@.service.d/fleet.conf");
    const fleet = (await Deno.readTextFile(FLEET)).replace("/usr/local/bin/deno", Deno.execPath());
    await Deno.writeTextFile(dropIn, fleet);
    await verify(path);
    await Deno.writeTextFile(dropIn, fleet.replace("StateDirectory=", "StateDirectoy="));
    const wrong = await runProgram(["systemd-analyze", "verify", "--man=no", path]);
    assertMatch(wrong.stderr, /StateDirectoy/);
  },
});

async function verify(path: string): Promise<void> {
  const { code, stdout, stderr } = await runProgram([
    ...["systemd-analyze", "verify", "--man=no", path],
  ]);
  assertEquals([code, stdout, stderr], [0, "", ""]);
}

Deno.test("its command line says when it is ready, reloads and ends", async () => {
  await using folder = await Folder.make();
  const places: [inUnit: string, here: string][] = [
    ["/usr/local/bin/deno", Deno.execPath()],
    ["/opt/virtio-gateway/cli.ts", CLI],
    ["/etc/virtio-gateway/%i.yaml", folder.file("vm1.yaml")],
    ["/run/virtio-gateway/%i", folder.file("run")],
    ["/run/systemd/notify", folder.file("notify")],
  ];
  const unit = places.reduce(
    (text, [inUnit, here]) => text.replaceAll(inUnit, here),
    await unitText(),
  );
  const words = valueOf(unit, "ExecStart").split(" ");
  assert(!words.join(" ").includes("%i"), words.join(" "));
  await Deno.mkdir(folder.file("run"));
  await Deno.writeTextFile(folder.file("vm1.yaml"), "policy: { allow: [a.test] }\n");
  const manager = Deno.listenDatagram({ transport: "unixpacket", path: folder.file("notify") });
  using _closing = { [Symbol.dispose]: () => manager.close() };

  const env = `NOTIFY_SOCKET=${folder.file("notify")}`;
  await using gateway = new BackgroundProgram(["env", env, ...words]);
  const [bytes] = await manager.receive();
  assertEquals(new TextDecoder().decode(bytes), "READY=1");
  (await Deno.connect({ transport: "unix", path: folder.file("run/vm.sock") })).close();
  (await Deno.connect({ transport: "unix", path: folder.file("run/control.sock") })).close();

  assertEquals(valueOf(unit, "ExecReload"), "/bin/kill -HUP $MAINPID");
  await Deno.writeTextFile(folder.file("vm1.yaml"), "policy: { allow: [b.test, c.test] }\n");
  Deno.kill(gateway.pid, "SIGHUP");
  await gateway.line(/SIGHUP: the policy of .*vm1\.yaml is in force.*rules=2/);

  const stopSeconds = Number(valueOf(unit, "TimeoutStopSec"));
  const { code, forced } = await gateway.end("SIGTERM", 1_000 * stopSeconds);
  assertEquals([code, forced], [0, false]);
  const left = await Array.fromAsync(Deno.readDir(folder.file("run")), ({ name }) => name);
  assertEquals(left, []);
});

Deno.test("with its drop-in for a fleet it is a gateway of one", async () => {
  await using engine = await NatsServer.start({
    config: 'authorization { user: vm1, password: "secret of vm1" }',
  });
  await using folder = await Folder.make();
  const places: [inUnit: string, here: string][] = [
    ["/usr/local/bin/deno", Deno.execPath()],
    ["/opt/virtio-gateway/cli.ts", CLI],
    ["/opt/virtio-gateway", new URL("../", import.meta.url).pathname],
    ["/etc/virtio-gateway/%i", folder.file("vm1")],
    ["/run/virtio-gateway/%i", folder.file("run")],
    ["/var/lib/virtio-gateway/%i", folder.file("state")],
    ["%i", "vm1"],
  ];
  const text = places.reduce(
    (all, [there, here]) => all.replaceAll(there, here),
    await unitText(FLEET),
  );
  assertEquals(valueOf(await unitText(FLEET), "StateDirectory"), "virtio-gateway/%i");
  const words = valueOf(text.replace("ExecStart=\n", ""), "ExecStart").split(" ");
  for (const name of ["run", "state"]) await Deno.mkdir(folder.file(name));
  const config = 'fleet: { group: ci, services: { web: 80 } }\npublish: ["0:80"]\n';
  await Deno.writeTextFile(folder.file("vm1.yaml"), config);
  const credentials = folder.file("vm1.engine.yaml");
  await Deno.writeTextFile(credentials, "user: vm1\npassword: secret of vm1\n", { mode: 0o600 });
  const env = `VIRTIO_GATEWAY_FLEET=${engine.url}`;
  await using gateway = new BackgroundProgram(["env", env, ...words]);
  await gateway.line(/^.*connected to the fleet's engine/);
  await gateway.line(/\bready\b/);
  assertEquals((await gateway.end("SIGTERM")).code, 0);
  // Beside what a fleet adds it does what the unit does.
  const own = new Set(valueOf(await unitText(), "ExecStart").split(/[ ,]/));
  const fleets = new Set(
    valueOf((await unitText(FLEET)).replace("ExecStart=\n", ""), "ExecStart")
      .split(/[ ,]/),
  );
  const lacking = [...own].filter((word) => !fleets.has(word) && !word.startsWith("--allow-read="));
  assertEquals(lacking, []);
});

Deno.test("exit codes that the unit does not try again are those of the command line", async () => {
  const unit = await unitText();
  assertEquals(valueOf(unit, "RestartPreventExitStatus"), "2 3");
  const wrong = await runProgram([Deno.execPath(), "run", "--no-prompt", CLI, "run", "--mtu", "1"]);
  const denied = await runProgram([
    ...[Deno.execPath(), "run", "--no-prompt", CLI, "run", "--listen", "unix:/nowhere"],
  ]);
  assertEquals([wrong.code, denied.code], [2, 3]);
});

Deno.test("the container runs the command line that the unit runs", async () => {
  const text = await Deno.readTextFile(new URL("../examples/Containerfile", import.meta.url));
  const flags = (all: string) => new Set(all.match(/--allow-[a-z]+/g));
  assertEquals(flags(text), flags(valueOf(await unitText(), "ExecStart")));
  const [, version = ""] = /^FROM \S+\/deno:(\S+)$/m.exec(text) ?? [];
  assertMatch(
    await Deno.readTextFile(new URL("../.ci/run", import.meta.url)),
    new RegExp(`deno@${version}\\b`),
  );
  const lines = [...text.replace(/\\\n\s*/g, "").matchAll(/^COPY (.*) \S+$/gm)];
  for (const path of lines.flatMap(([, names]) => names!.split(" "))) {
    await Deno.stat(new URL(`../${path}`, import.meta.url));
  }
});
