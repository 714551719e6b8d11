/** A capture of an embedded guest, as tshark reads it. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { GuestError } from "../../lib/guest/guest_error.ts";
import { Folder } from "../cli/cli_process.ts";
import { ControlRig } from "../control/control_rig.ts";
import { runProgram } from "../guest/program.ts";
import { until } from "../support/guest_rig.ts";
import { GATEWAY4 } from "../support/packets.ts";
import { missing, tshark, tsharkTest } from "./tshark.ts";

const name = missing === null
  ? "tshark: captures can be read here"
  : `tshark tests skipped: ${missing}`;

Deno.test(name, async () => {
  if (missing === null) return;
  const { state } = await Deno.permissions.query({ name: "env", variable: "CI" });
  if (state === "granted" && Deno.env.get("CI")) throw new Error(name);
});

/** The values of a tshark field, one for each packet that a filter selects. */
async function fields(path: string, filter: string, ...names: string[]): Promise<string[][]> {
  const words = names.flatMap((each) => ["-e", each]);
  const lines = await tshark(path, "-N", "n", "-Y", filter, "-T", "fields", ...words);
  return lines.map((line) => line.split("\t"));
}

tsharkTest("names, directions and comments of a guest's traffic, without a complaint", async () => {
  await using folder = await Folder.make();
  const path = folder.file("vm.pcapng");
  const startMs = Date.now();
  await using rig = await ControlRig.open({
    hostLoopback: true,
    dns: { upstreams: ["127.0.0.1:1"], records: { "db.test": ["192.0.2.77"] } },
    policy: { deny: ["10.1.2.3", "evil.test"], origins: { deny: ["a.yaml:3", "a.yaml:4"] } },
    capture: { file: path },
  });
  const guest = await rig.attach();
  await guest.ping(GATEWAY4);
  assertEquals((await guest.resolve("db.test", "A")).code, "NOERROR");
  await guest.resolve("evil.test", "A");
  await assertRejects(() => guest.connect("10.1.2.3", 443), GuestError, "prohibited");
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = host.accept();
  const flow = await guest.connect(GATEWAY4, host.addr.port);
  using _peer = await accepted;
  flow.close();
  await guest.close();
  await until("the guest has left", () => rig.gateway.guest === null);
  await rig.gateway.close();

  const { code, stdout, stderr } = await runProgram(["capinfos", "-T", "-r", "-c", "-a", path]);
  assertEquals([code, stderr], [0, ""], stdout);
  const all = await fields(path, "frame", "frame.interface_name", "frame.time_epoch");
  assert(all.length > 10);
  for (const [interfaceName, time] of all) {
    assertEquals(interfaceName, "guest");
    assert(Math.abs(Number(time) * 1_000 - startMs) < 600_000, time);
  }
  // What an ICMP error quotes has the start of its packet only, and so the sum of all of it.
  const wrong = "_ws.malformed || ip.checksum.status == 0 || (tcp.checksum.status == 0 && !icmp)";
  const sums = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"];
  assertEquals(await tshark(path, ...sums, "-Y", wrong), []);
  const ping = await fields(path, "icmp.type == 8 || icmp.type == 0", "icmp.type", DIRECTION);
  assertEquals(ping.slice(0, 2).map((values) => values.map(Number)), [[8, 1], [0, 2]]);

  const comments = await fields(path, "frame.comment", "frame.protocols", "frame.comment");
  assertEquals(comments.length, 2);
  assertMatch(comments[0]![0]!, /:udp:dns$/);
  assertMatch(comments[0]![1]!, /^denied dns evil\.test by evil\.test \(a\.yaml:4\): .*allow it/);
  assertMatch(comments[1]![0]!, /:(tcp|icmp:ip:tcp)$/);
  assertMatch(comments[1]![1]!, /^denied tcp 10\.1\.2\.3:443 by 10\.1\.2\.3 \(a\.yaml:3\): /);
});

const DIRECTION = "frame.packet_flags_direction";

tsharkTest("a filtered capture has the names of what it leaves out", async () => {
  await using folder = await Folder.make();
  await using rig = await ControlRig.open({
    dns: { upstreams: ["127.0.0.1:1"], records: { "db.test": ["192.0.2.77"] } },
    policy: { deny: ["192.0.2.77"] },
  });
  const guest = await rig.attach();
  const stop = new AbortController();
  const filter = "tcp port 5432";
  const blocks = rig.gateway.capture({ filter, snapLength: 64, signal: stop.signal });
  const whole = Array.fromAsync(blocks);
  await guest.resolve("db.test", "A");
  await assertRejects(() => guest.connect("192.0.2.77", 5_432), GuestError);
  stop.abort();
  const path = folder.file("part.pcapng");
  await Deno.writeFile(path, Uint8Array.from((await whole).flatMap((part) => [...part])));
  const words = ["-N", "n", "-T", "fields", "-e", "ip.src_host", "-e", "ip.dst_host"];
  const lines = await tshark(path, ...words);
  assertEquals(lines[0], "100.96.0.2\tdb.test");
  assert(lines.length >= 2);
  assertEquals((await fields(path, "frame.comment", "frame.number")).length, 1);
});
