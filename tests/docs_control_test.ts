/** The lines of docs/control.md are run against the real program, each as it stands there. */
import { assert, assertEquals } from "@std/assert";
import { ROUTES } from "../lib/control/routes.ts";
import { Folder } from "./cli/cli_process.ts";
import { GuestsRig } from "./control/guests_rig.ts";
import { ControlProgram } from "./cli/control_program.ts";
import { runProgram, until } from "./guest/program.ts";
import { freePort } from "./support/free_port.ts";

const SOCKET = "virtio-gateway.control.sock";
const text = Deno.readTextFileSync(new URL("../docs/control.md", import.meta.url));
const all = [...text.matchAll(/^```sh\n(.*?)^```$/gms)]
  .flatMap(([, block]) => block!.trim().split("\n"));
const isOfSeveral = (line: string) => line.includes("/v1/guests");
const lines = all.filter((line) => !isOfSeveral(line));

/** Ports of the document, and what stands for them on this machine. */
function withFreePorts(line: string, ports: ReadonlyMap<string, number>): string {
  return line.replace(/8080|5353|(?<=local":":)6443/g, (port) => String(ports.get(port)));
}

/** Runs a line in a folder once, and gives curl's exit code and the status of the answer. */
async function runOnce(line: string, folder: Folder): Promise<{ code: number; status: number }> {
  const command = line.replace(/^curl /, "curl -sS -o answer -w '%{http_code}' ");
  const { code, stdout } = await runProgram(["sh", "-c", `cd ${folder.path} && ${command}`]);
  return { code, status: Number(stdout) };
}

/** The same; a stream's only second may be over before a loaded machine has answered. */
async function run(line: string, folder: Folder): Promise<{ code: number; status: number }> {
  let outcome = await runOnce(line, folder);
  if (!line.includes("--max-time")) return outcome;
  await until(`an answer to ${line}`, async () => {
    if (outcome.status === 0) outcome = await runOnce(line, folder);
    return outcome.status !== 0;
  });
  return outcome;
}

Deno.test("each curl line of docs/control.md does what it is for", async () => {
  await using folder = await Folder.make();
  const config = folder.file("gateway.yaml");
  await Deno.writeTextFile(config, "hostLoopback: true\n");
  await using gateway = await ControlProgram.start(
    folder,
    ...["--control", `unix:${folder.file(SOCKET)}`, "--config", config],
    ...["--guest-ip", "192.168.127.2/24", "--gateway-ip", "192.168.127.1"],
  );
  const guest = await gateway.attach();
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await guest.connect("192.168.127.1", host.addr.port);
  const ports = new Map(["8080", "6443", "5353"].map((port) => [port, freePort()] as const));
  // The end of the gateway is no way to see the others.
  const isStop = (line: string) => line.includes("/v1/stop");
  const ordered = [...lines.filter((line) => !isStop(line)), ...lines.filter(isStop)];
  assert(ordered.length > 20);
  for (const line of ordered) {
    const { code, status } = await run(withFreePorts(line, ports), folder);
    const isStream = line.includes("--max-time");
    assertEquals([code, status], [isStream ? 28 : 0, 200], line);
  }
  await until("it has ended", () => gateway.program.ended);
  assertEquals((await gateway.program.end("SIGTERM")).code, 0);
});

Deno.test("each curl line of docs/control.md about several guests does what it is for", async () => {
  await using folder = await Folder.make();
  await using rig = await GuestsRig.open({ db: {}, web: {} });
  const { endpoint } = rig.control;
  assert(endpoint.transport === "unix");
  await Deno.symlink(endpoint.path, folder.file(SOCKET));
  const wanted = all.filter(isOfSeveral);
  assert(wanted.length > 4);
  for (const line of wanted) {
    const { code, status } = await run(line, folder);
    assertEquals([code, status], [line.includes("--max-time") ? 28 : 0, 200], line);
  }
  assertEquals(rig.server("web").policy.deny, ["*.tracker.example"]);
  assertEquals(rig.server("db").policy.deny, []);
});

Deno.test("docs/control.md has a line for each path of flows, ports, names, life and gvproxy", () => {
  const shown = lines.map((line) => {
    const [, path = ""] = /http:\/(?:\/localhost|unix)([^ '?]+)/.exec(line)!;
    return path.replace(/\/v1\/flows\/\d+$/, "/v1/flows/{id}")
      .replace(/\/v1\/ports\/\d+$/, "/v1/ports/{hostPort}")
      .replace(/\/v1\/dns\/records\/.+$/, "/v1/dns/records/{name}");
  });
  const paths = new Set(ROUTES.map(({ path }) => path));
  assertEquals(shown.filter((path) => !paths.has(path)), []);
  const wanted = /^\/(?:v1\/(?:flows|ports|dns|reload|stop|status|policy)|services\/|stats)/;
  const missing = [...paths].filter((path) => wanted.test(path) && !shown.includes(path));
  assertEquals(missing, []);
});
