/**
 * examples/guests.yaml as it is, run by the command line, with a real kernel as each of its guests.
 */
import { assertEquals } from "@std/assert";
import { resolveGuests } from "../../lib/config/guests.ts";
import { resolveSources } from "../../lib/config/resolve_guests.ts";
import type { DenialReport } from "../../lib/control/api.ts";
import { cliWords, Folder, runCli } from "../cli/cli_process.ts";
import type { Attempt } from "./guest_program.ts";
import { LanGuest } from "./lan_guest.ts";
import { guestTest } from "./prerequisites.ts";
import { BackgroundProgram } from "./program.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

guestTest("examples/guests.yaml: two guests, and what each may begin", async (t) => {
  await using folder = await Folder.make();
  // The sockets and the host's port are this test's; what the guests are to each other is the file's.
  const text = (await Deno.readTextFile(`${ROOT}examples/guests.yaml`))
    .replaceAll("unix:./", `unix:${folder.path}/`)
    .replace("8080:80", "0:80");
  const path = folder.file("guests.yaml");
  await Deno.writeTextFile(path, text);
  const file = resolveSources({ file: { name: path, text } });
  if (file.kind !== "guests") throw new Error("several guests are expected");
  const [web, db] = resolveGuests(file.config).networks[0]!.members;
  const permissions = [
    ...["--allow-net", `--allow-read=${folder.path},${ROOT},/etc/resolv.conf`],
    `--allow-write=${folder.path}`,
  ];
  await using gateway = new BackgroundProgram(cliWords(permissions, ["run", "--config", path]));
  await gateway.line(/\bready with 2 guests\b/);
  const port = /127\.0\.0\.1:([0-9]+) as the guest's port 80 guest=web/.exec(
    gateway.lines.join("\n"),
  )![1]!;
  const join = (member: typeof web & object) =>
    LanGuest.join({ member, endpoint: `unix:${folder.file(`${member.name}.sock`)}` });
  await using server = await join(web!);
  await using database = await join(db!);
  for (const [guest, ports] of [[database, ["5432", "22"]], [server, ["80"]]] as const) {
    for (const each of ports) await guest.launch("echo-server", each).line(/^listening$/);
  }
  const attempt = async (guest: LanGuest, port: string, to: string): Promise<string> => {
    const [only] = await guest.program<Attempt[]>("connect", port, to);
    return only!.result;
  };
  await t.step("web finds db by its name, and reaches the one port", async () => {
    const found = await server.must("dig", "+short", "@10.77.0.1", "db.internal", "A");
    assertEquals(found, db!.ip4);
    for (const ip of [db!.ip4, db!.ip6!]) {
      assertEquals(await attempt(server, "5432", ip), "open");
      assertEquals(await attempt(server, "22", ip), ip.includes(":") ? "EACCES" : "EHOSTUNREACH");
    }
  });
  await t.step("db begins nothing", async () => {
    assertEquals(await attempt(database, "80", web!.ip4), "EHOSTUNREACH");
    assertEquals(await attempt(database, "80", "192.0.2.1"), "EHOSTUNREACH");
  });
  await t.step("the host reaches web, and asks each guest by its name", async () => {
    using conn = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
    await conn.write(new TextEncoder().encode("hello"));
    const answer = new Uint8Array(16);
    assertEquals(new TextDecoder().decode(answer.subarray(0, (await conn.read(answer))!)), "hello");
    const control = `unix:${folder.file("virtio-gateway.control.sock")}`;
    const ask = ["--allow-net", `--allow-read=${folder.path}`, `--allow-write=${folder.path}`];
    const refused = async (guest: string): Promise<string[]> => {
      const words = ["denials", "--guest", guest, "--control", control, "--json"];
      const { groups } = JSON.parse((await runCli(ask, ...words)).stdout) as DenialReport;
      return groups.map(({ denial }) => denial).filter(({ protocol }) => protocol === "tcp")
        .map(({ name, destination }) => name ?? destination);
    };
    assertEquals(await refused("web"), ["db.internal"]);
    assertEquals(await refused("db"), ["192.0.2.1:80", "web.internal"]);
  });
});
