/** A capture as an embedding program takes it from a runtime. */
import { assert, assertEquals } from "@std/assert";
import { startVirtioNetwork } from "../../mod.ts";
import { EmbeddedGuest } from "../../lib/guest/embedded_guest.ts";
import { FrameMemory } from "../../lib/wire/memory.ts";
import { Folder } from "../cli/cli_process.ts";
import { tcpPair } from "../support/guest_rig.ts";
import { GATEWAY4 } from "../support/packets.ts";
import { readPcapng } from "./read_pcapng.ts";

Deno.test("a runtime's capture has its guest's frames, and ends with it; so does its file", async () => {
  await using folder = await Folder.make();
  const path = folder.file("vm.pcapng");
  const [vmm, conn] = await tcpPair();
  const network = await startVirtioNetwork(conn, {
    dns: { upstreams: ["127.0.0.1:1"] },
    capture: { file: path },
  });
  const stop = new AbortController();
  const some = Array.fromAsync(network.capture({ signal: stop.signal }));
  const all = Array.fromAsync(network.capture({ filter: "icmp and ip" }));
  const guest = EmbeddedGuest.attach(vmm, { memory: new FrameMemory(64 * 1024 * 1024) });
  await guest.lease();
  stop.abort();
  await guest.ping(GATEWAY4);
  await guest.close();
  await network.finished;
  const read = (parts: readonly Uint8Array[]) =>
    readPcapng(Uint8Array.from(parts.flatMap((part) => [...part])));
  const early = read(await some);
  assert(early.packets.length > 0);
  const { packets, statistics } = read(await all);
  assertEquals(packets.map(({ direction }) => direction), ["in", "out"]);
  assertEquals(statistics[0]!.accepted, 2);
  const file = readPcapng(await Deno.readFile(path));
  assertEquals(file.statistics[0]!.lost, 0);
  assertEquals(file.packets.length, file.statistics[0]!.seen);
  assertEquals(read(await Array.fromAsync(network.capture())).packets, [], "nothing is left");
});
