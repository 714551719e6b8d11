/** A capture in a file: rotation, its mode, and places that fail. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { GatewayError } from "../../lib/config/errors.ts";
import type { GatewayLogger } from "../../lib/config/logger.ts";
import { CaptureFile } from "../../lib/host/capture_file.ts";
import { readPcapng } from "../capture/read_pcapng.ts";
import { Folder } from "../cli/cli_process.ts";
import { mustRun } from "../guest/program.ts";
import { ethernet, GUEST4, ip4, pattern, udp, WORLD4 } from "../support/packets.ts";
import { CaptureRig } from "./capture_rig.ts";

const LIMIT_BYTES = 20_000;

function datagram(dataBytes: number): Uint8Array {
  return ethernet(ip4(udp(GUEST4, 5_000, WORLD4, 4_444, pattern(dataBytes)), {
    destination: WORLD4,
  }));
}

/** A file, what writes it, and the errors that were logged. */
class FileRig extends CaptureRig {
  readonly errors: [string, unknown][] = [];
  nowMs = 0;

  open(path: string, limitBytes = LIMIT_BYTES): Promise<CaptureFile> {
    const logger: GatewayLogger = {
      debug: () => {},
      info: () => {},
      warn: () => {},
      error: (message, fields) => void this.errors.push([message, fields?.reason]),
    };
    const { tap } = this;
    return CaptureFile.open({ path, limitBytes, tap, logger, now: () => this.nowMs });
  }

  /** Frames that are given to the writer at once. */
  async pass(frames: number, dataBytes = 1_000): Promise<void> {
    for (let i = 0; i < frames; i++) this.received(datagram(dataBytes));
    await this.clock.run(200);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test("capture file: it is whole, and its user's alone", async () => {
  await using folder = await Folder.make();
  const path = folder.file("vm.pcapng");
  const rig = new FileRig();
  const running = (await rig.open(path)).run();
  await rig.pass(3);
  rig.tap.close();
  assertEquals(await running, true);
  const { packets, statistics } = readPcapng(await Deno.readFile(path));
  assertEquals(packets.map(({ data }) => data), Array(3).fill(datagram(1_000)));
  assertEquals(statistics, [{ seen: 3, accepted: 3, lost: 0 }]);
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
});

Deno.test("capture file: two files of half the limit each, both whole, with names in both", async () => {
  await using folder = await Folder.make();
  const path = folder.file("vm.pcapng");
  const rig = new FileRig();
  rig.tap.tellNames([{ address: Uint8Array.of(10, 0, 0, 5), name: "db.test" }]);
  const running = (await rig.open(path)).run();
  for (let i = 0; i < 6; i++) await rig.pass(5);
  rig.tap.close();
  assertEquals(await running, true);
  const files = [`${path}.1`, path].map((each) => Deno.readFileSync(each));
  const read = files.map(readPcapng);
  for (const bytes of files) assert(bytes.length <= LIMIT_BYTES / 2, String(bytes.length));
  assertEquals(read.map(({ names }) => names[0]!.names), [["db.test"], ["db.test"]]);
  assertEquals(read.map(({ statistics }) => statistics.length), [1, 1]);
  assertEquals(read[1]!.statistics[0], { seen: 30, accepted: 30, lost: 0 });
  assert(read[0]!.packets.length >= 8, "the earlier one is full");
  assertEquals([...Deno.readDirSync(folder.path)].length, 2);
});

Deno.test("capture file: one of an earlier run is kept, what is no plain file is left alone", async () => {
  await using folder = await Folder.make();
  const path = folder.file("vm.pcapng");
  await Deno.writeTextFile(path, "earlier");
  const rig = new FileRig();
  const running = (await rig.open(path)).run();
  rig.tap.close();
  await running;
  assertEquals(await Deno.readTextFile(`${path}.1`), "earlier");
  assertEquals(readPcapng(await Deno.readFile(path)).packets, []);
  const link = folder.file("link");
  await Deno.symlink(path, link);
  for (const place of [link, folder.path, folder.file("none/vm.pcapng")]) {
    const error = await assertRejects(() => new FileRig().open(place), GatewayError);
    assertStringIncludes((error as GatewayError).message, `cannot capture to ${place}: `);
  }
  assert((await Deno.lstat(link)).isSymlink);
});

Deno.test("capture file: where it is removed or replaced the capture stops, with one line", async () => {
  for (const way of ["removed", "replaced", "folder"] as const) {
    const folder = await Folder.make();
    const path = folder.file("vm.pcapng");
    const rig = new FileRig();
    const running = (await rig.open(path)).run();
    await rig.pass(1);
    if (way === "folder") await folder[Symbol.asyncDispose]();
    else await Deno.remove(path);
    if (way === "replaced") await Deno.writeTextFile(path, "other");
    await rig.pass(1);
    assertEquals(rig.errors, [], "it is not looked at with each write");
    rig.nowMs += 1_000;
    await rig.pass(1);
    assertEquals(await running, false);
    const reason = way === "replaced"
      ? "somebody has put another file in its place"
      : "somebody has removed the file";
    assertEquals(rig.errors, [[`the capture to ${path} has stopped, all else goes on`, reason]]);
    if (way === "replaced") assertEquals(await Deno.readTextFile(path), "other");
    if (way !== "folder") await folder[Symbol.asyncDispose]();
  }
});

/** Whether a file system of a test's own can be mounted here. */
async function canMount(): Promise<boolean> {
  const { state } = await Deno.permissions.query({ name: "run" });
  return Deno.build.os === "linux" && state === "granted" &&
    await mustRun(["unshare", "--mount", "true"]).then(() => true, () => false);
}

Deno.test({
  name: "capture file: on a full disk the capture stops, with one line and whole blocks",
  ignore: !await canMount(),
  async fn() {
    await using folder = await Folder.make();
    await mustRun(["mount", "-t", "tmpfs", "-o", "size=64k", "vgcapture", folder.path]);
    try {
      const path = folder.file("vm.pcapng");
      const rig = new FileRig();
      const running = (await rig.open(path, 10_000_000)).run();
      for (let i = 0; i < 10; i++) await rig.pass(10);
      assertEquals(await running, false);
      assertEquals(rig.errors.length, 1);
      assertStringIncludes(String(rig.errors[0]![1]), "No space left on device");
      const { packets } = readPcapng(await Deno.readFile(path));
      assert(packets.length > 40, String(packets.length));
    } finally {
      await mustRun(["umount", folder.path]);
    }
  },
});
