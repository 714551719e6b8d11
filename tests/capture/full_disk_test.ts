/** A disk that is full under a capture: the capture stops, and its guest does not notice. */
import { assert, assertEquals } from "@std/assert";
import { type GatewayLogger, silentLogger } from "../../lib/config/logger.ts";
import { Folder } from "../cli/cli_process.ts";
import { ControlRig } from "../control/control_rig.ts";
import { mustRun } from "../guest/program.ts";
import { echo, HostServer } from "../guest_embedded/rig.ts";
import { until } from "../support/guest_rig.ts";
import { GATEWAY4, pattern } from "../support/packets.ts";
import { readPcapng } from "./read_pcapng.ts";

/** Whether a file system of a test's own can be mounted here. */
async function canMount(): Promise<boolean> {
  const { state } = await Deno.permissions.query({ name: "run" });
  return Deno.build.os === "linux" && state === "granted" &&
    await mustRun(["unshare", "--mount", "true"]).then(() => true, () => false);
}

Deno.test({
  name: "full disk: the guest's transfer is whole, one line says that the capture has stopped",
  ignore: !await canMount(),
  async fn() {
    await using folder = await Folder.make();
    await mustRun(["mount", "-t", "tmpfs", "-o", "size=256k", "vgcapture", folder.path]);
    try {
      const path = folder.file("vm.pcapng");
      const errors: [string, unknown][] = [];
      const logger: GatewayLogger = {
        ...silentLogger,
        error: (message, fields) => void errors.push([message, fields?.reason]),
      };
      await using rig = await ControlRig.open({
        hostLoopback: true,
        logger,
        capture: { file: path },
      });
      await using host = new HostServer(echo);
      const guest = await rig.attach();
      const sent = pattern(2_000_000);
      const flow = await guest.connect(GATEWAY4, host.port);
      const back = flow.readAll();
      await flow.write(sent);
      flow.finish();
      assertEquals(await back, sent);
      await until("the capture has stopped", () => errors.length > 0);
      await guest.ping(GATEWAY4);
      await guest.close();
      assertEquals(errors.map(([message]) => message), [
        `the capture to ${path} has stopped, all else goes on`,
      ]);
      assert(String(errors[0]![1]).startsWith("No space left on device"), String(errors[0]![1]));
      assert(readPcapng(await Deno.readFile(path)).packets.length > 20);
    } finally {
      await mustRun(["umount", folder.path]);
    }
  },
});
