/**
 * examples/pod.yaml: what can be tried of it without a cluster. Its configuration and the gateway's
 * words are right with what the pod gives them, promtool takes the scrape, each mount has its volume,
 * and what the gateway reads and writes is what the image lets it.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { parse } from "@std/yaml";
import { parseArguments } from "../lib/cli/arguments.ts";
import { parseCredentials } from "../lib/config/fleet_credentials.ts";
import { resolveConfig } from "../lib/config/resolve.ts";
import { CLI, Folder } from "./cli/cli_process.ts";
import { BackgroundProgram, mustRun } from "./guest/program.ts";
import { NatsServer } from "./support/nats_server.ts";
import { hasProgram } from "./support/programs.ts";
import { freePort } from "./support/free_port.ts";

const read = (path: string): string =>
  Deno.readTextFileSync(new URL(`../${path}`, import.meta.url));

interface Container {
  readonly name: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string }[];
  readonly securityContext: unknown;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

interface Pod {
  readonly spec: {
    readonly initContainers: readonly Container[];
    readonly containers: readonly Container[];
    readonly volumes: readonly {
      readonly name: string;
      readonly configMap?: { readonly name: string };
      readonly secret?: { readonly secretName: string };
    }[];
  };
}

interface Texts {
  readonly metadata: { readonly name: string };
  readonly data: Readonly<Record<string, string>>;
  readonly stringData: Readonly<Record<string, string>>;
}

const [map, secret, pod] = read("examples/pod.yaml").split("\n---\n").map((text) =>
  parse(text)
) as [Texts, Texts, Pod];
const { initContainers, containers, volumes } = pod.spec;
const [gateway, vm, prometheus] = containers as [Container, Container, Container];

function mountOf({ volumeMounts }: Container, name: string): string {
  return volumeMounts.find((mount) => mount.name === name)!.mountPath;
}

const FROM_THE_POD: Readonly<Record<string, string>> = {
  VIRTIO_GATEWAY_FLEET_GATEWAY: "vm1",
  VIRTIO_GATEWAY_FLEET_ADVERTISE: "10.1.2.3",
};

Deno.test("examples/pod.yaml: the gateway's words and its configuration are right", () => {
  const { command, config } = parseArguments([...gateway.args!]);
  assertEquals([command, config], ["run", `${mountOf(gateway, "config")}/gateway.yaml`]);
  const names = gateway.env!.map(({ name }) => name);
  assertEquals(names, Object.keys(FROM_THE_POD));
  const file = { name: "gateway.yaml", text: map.data["gateway.yaml"]! };
  const { settings, fleet } = resolveConfig({ file, environment: FROM_THE_POD });
  assertEquals(settings.meeting?.endpoint, {
    transport: "unix",
    path: `${mountOf(gateway, "run")}/vm.sock`,
  });
  assert(vm.args!.some((word) => word.endsWith(`addr.path=${mountOf(vm, "run")}/vm.sock`)));
  assertEquals(fleet?.settings.gateway, "vm1");
  assertEquals(fleet?.settings.advertise, ["10.1.2.3"]);
  assert(fleet?.settings.dir.startsWith(mountOf(gateway, "state")));
  assertEquals(fleet?.guests, [
    { name: "vm1", group: "ci", services: [{ name: "web", guestPort: 80, protocol: "tcp" }] },
  ]);
});

Deno.test("examples/pod.yaml: what is mounted is there, and nobody has a right more", () => {
  const known = volumes.map(({ name }) => name);
  for (const { name, volumeMounts, securityContext } of [...initContainers, ...containers]) {
    assertEquals(volumeMounts.filter((mount) => !known.includes(mount.name)), [], name);
    assertEquals(securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    }, name);
  }
  assertEquals(
    volumes.flatMap(({ configMap, secret }) => configMap?.name ?? secret?.secretName ?? []),
    [
      map.metadata.name,
      secret.metadata.name,
    ],
  );
  const { secret: shown } = parseCredentials("engine.yaml", secret.stringData["engine.yaml"]!);
  assertEquals(shown?.kind, "user");
  assert(/^[0-9a-f]{64}$/.test(secret.stringData["control.token"]!));
  for (const name of Object.keys(secret.stringData)) {
    assert(map.data["gateway.yaml"]!.includes(`${mountOf(gateway, "own-secrets")}/${name}`), name);
  }
});

Deno.test("examples/pod.yaml: the image lets the gateway have what the pod gives it", () => {
  const image = read("examples/Containerfile");
  const listed = (flag: string) => {
    const [, places = ""] = new RegExp(`"--allow-${flag}=([^"]*)"`).exec(image) ?? [];
    return places.split(",");
  };
  const places = gateway.volumeMounts.map(({ mountPath }) => mountPath);
  assertEquals(places.filter((path) => !listed("read").includes(path)), []);
  assert(listed("read").includes("/opt/virtio-gateway"), "the modules of a fleet");
  for (const name of ["run", "state"]) {
    assert(listed("write").includes(mountOf(gateway, name)), name);
  }
});

Deno.test({
  name: "examples/pod.yaml: promtool takes the scrape, of where the gateway's metrics are",
  ignore: !await hasProgram("promtool"),
  async fn() {
    await using folder = await Folder.make();
    const secrets = mountOf(prometheus, "own-secrets");
    await Deno.writeTextFile(folder.file("control.token"), secret.stringData["control.token"]!);
    const text = map.data["prometheus.yml"]!;
    await Deno.writeTextFile(folder.file("prometheus.yml"), text.replaceAll(secrets, folder.path));
    await mustRun(["promtool", "check", "config", "--agent", folder.file("prometheus.yml")]);
    const [, port] = /control: tcp:127\.0\.0\.1:(\d+)/.exec(map.data["gateway.yaml"]!)!;
    assert(text.includes(`targets: [127.0.0.1:${port}]`));
  },
});

Deno.test("examples/pod.yaml: with the image's words the gateway joins its fleet, and is scraped", async () => {
  await using engine = await NatsServer.start({
    config: 'authorization { user: vm1, password: "secret of vm1" }',
  });
  await using folder = await Folder.make();
  const port = freePort();
  const places: [there: string, here: string][] = [
    ["/opt/virtio-gateway/cli.ts", CLI],
    ["/opt/virtio-gateway", new URL("../", import.meta.url).pathname],
    ...gateway.volumeMounts.map(({ name, mountPath }): [string, string] => {
      return [mountPath, folder.file(name)];
    }).toSorted(([a], [b]) => b.length - a.length),
    ["nats://nats.default.svc.cluster.local:4222", engine.url],
    ["127.0.0.1:9100", `127.0.0.1:${port}`],
    ["host: 8080", "host: 0"],
  ];
  const here = (text: string) => places.reduce((all, [from, to]) => all.replaceAll(from, to), text);
  for (const { name } of gateway.volumeMounts) await Deno.mkdir(folder.file(name));
  await Deno.writeTextFile(folder.file("config/gateway.yaml"), here(map.data["gateway.yaml"]!));
  for (const [name, text] of Object.entries(secret.stringData)) {
    await Deno.writeTextFile(folder.file(`own-secrets/${name}`), text, { mode: 0o600 });
  }
  const [, entry = ""] = /^ENTRYPOINT (\[[^\]]*\])/m.exec(
    read("examples/Containerfile").replaceAll("\\\n", ""),
  ) ?? [];
  const words = [...JSON.parse(entry) as string[], ...gateway.args!].map(here);
  words[0] = Deno.execPath();
  const environment = Object.entries(FROM_THE_POD).map(([name, value]) => `${name}=${value}`);
  await using program = new BackgroundProgram(["env", ...environment, ...words]);
  await program.line(/connected to the fleet's engine/);
  await program.line(/\bready\b/);
  const scrape = await fetch(`http://127.0.0.1:${port}/metrics`, {
    headers: { authorization: `Bearer ${secret.stringData["control.token"]!}` },
  });
  assertMatch(await scrape.text(), /^virtio_gateway_fleet_engine_connected 1$/m);
  assertEquals((await program.end("SIGTERM")).code, 0);
  assert(!program.lines.some((line) => line.includes("permission")), program.lines.join("\n"));
});
