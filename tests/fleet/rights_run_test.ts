/**
 * The rights of docs/fleet.md with the real program: all that gateways and operators do in a fleet
 * passes, and nothing that they do is refused.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { CLI, Folder, runCliWith } from "../cli/cli_process.ts";
import { ControlProgram } from "../cli/control_program.ts";
import { NatsCluster, NatsServer } from "../support/nats_server.ts";
import { until } from "./policy_rig.ts";
import { accountsOf } from "./rights_rig.ts";

const MODULES = new URL(".", `file://${CLI}`).pathname;

/** Writes what somebody shows to the engine. */
async function credentials(folder: Folder, user: string, secret: string): Promise<string> {
  const path = folder.file(`${user}.engine.yaml`);
  await Deno.writeTextFile(path, `user: ${user}\npassword: ${secret}\n`, { mode: 0o600 });
  return path;
}

Deno.test("docs/fleet.md, rights: they are all that gateways and operators need", async () => {
  await using engine = await NatsServer.start({ config: accountsOf() });
  await tryAll([engine]);
});

Deno.test("docs/fleet.md, rights: and so with three servers, each asked by another", async () => {
  await using engine = await NatsCluster.start(3, { config: accountsOf() });
  await tryAll(engine.nodes, "--replicas", "3");
});

/** Has gateways and an operator do all that they do, each at a server of its own where there are some. */
async function tryAll(nodes: readonly NatsServer[], ...toInit: string[]): Promise<void> {
  const urlOf = (i: number): string => nodes[i % nodes.length]!.url;
  await using folder = await Folder.make();
  const may = [`--allow-read=${folder.path},${MODULES}`, `--allow-write=${folder.path}`];
  const shown = await credentials(folder, "operator", "secret of the operator");
  const fleet = async (stdin: string, ...words: string[]) => {
    const outcome = await runCliWith(
      { cwd: folder.path, stdin },
      [...may, "--allow-net"],
      ...["fleet", ...words, "--fleet", urlOf(0), "--fleet-credentials", shown],
    );
    assertEquals([outcome.code, outcome.stderr], [0, ""], words.join(" "));
    return outcome.stdout;
  };
  await fleet("", "init", ...toInit);
  await fleet("deny: [metadata]\n", "policy", "put", "fleet", "-");

  const start = async (name: string, url: string) => {
    const own = await Folder.make();
    const gateway = await ControlProgram.startWith(
      [`--allow-read=${own.path},${folder.path},${MODULES}`, `--allow-write=${own.path}`],
      own,
      ...["--fleet", url, "--fleet-gateway", name, "--fleet-dir", own.file("fleet")],
      ...["--fleet-credentials", await credentials(folder, name, `secret of ${name}`)],
      ...["-p", "0.0.0.0:0:80", "--fleet-service", "web=80", "--fleet-advertise", "10.0.0.10"],
    );
    return { own, gateway };
  };
  const host1 = await start("host-1", urlOf(1));
  await using gateway1 = host1.gateway;
  await using _own1 = host1.own;
  const host2 = await start("host-2", urlOf(2));
  await using gateway2 = host2.gateway;
  await using _own2 = host2.own;
  for (const { program } of [gateway1, gateway2]) {
    await program.line(/the fleet's policy is in force/);
  }

  const put = await fleet("deny: [metadata, 9.9.9.9]\n", "policy", "put", "fleet", "-");
  assertMatch(put, /^written as revision 2$/m); // who is heard within two seconds is another matter
  // Each hears the other.
  await until("both are known to each", async () => {
    const texts = await Promise.all([gateway1, gateway2].map(async (gateway) => {
      return (await gateway.ask("status", "--control", gateway.control)).stdout;
    }));
    return texts.every((text) => text.includes("2 gateways"));
  });
  await until("it is in force at both", async () => {
    const status = await fleet("", "status");
    return ["host-1", "host-2"].every((name) =>
      new RegExp(`^${name} .*in force: 2`, "m").test(status)
    );
  });
  await using guest = await gateway1.attach();
  await guest.connect("9.9.9.9", 443).then((conn) => conn.close(), () => {});
  await until("its refusal is in the stream", async () => {
    return /host-1 {2}DENY {2}tcp 9\.9\.9\.9:443/.test(await fleet("", "denials"));
  });
  assertMatch(await fleet("", "policy", "history"), /^ +2 /m);
  await guest.close();
  for (const { program } of [gateway1, gateway2]) {
    const refused = program.lines.filter((line) => /permi|cannot be delivered/i.test(line));
    assertEquals(refused, []);
  }
  for (const { lines } of nodes) {
    assert(!lines.some((line) => line.includes("Violation")), lines.join("\n"));
  }
}
