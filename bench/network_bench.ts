/**
 * A bulk transfer through a guest's whole network, each way, without a kernel on either side.
 *
 *     deno task microbench
 */
import { BenchNetwork } from "./support/bench_network.ts";
import { asyncFigure } from "./support/figure.ts";
import { segmentBytes } from "./support/guest_frames.ts";

const DOWNLOAD_BYTES = 4 * 1024 * 1024;
/** Until windows and buffers have their size. */
const WARM_UP_ROUNDS = 32;

for (
  const { mtu, segments, ackEvery } of [
    { mtu: 1500, segments: 256, ackEvery: 2 },
    { mtu: 65_520, segments: 16, ackEvery: 1 },
  ]
) {
  const network = new BenchNetwork(mtu, ackEvery);
  await network.open();
  await network.widenUpload(segments * segmentBytes(mtu));
  asyncFigure(
    `upload, MTU ${mtu}: a read buffer through the network`,
    { count: segments, unit: "frame", bytes: segments * segmentBytes(mtu) },
    { group: "upload" },
    async (stopwatch) => {
      const upload = network.prepareUpload(segments);
      stopwatch.start();
      await upload();
      stopwatch.stop();
    },
  );

  for (let i = 0; i < WARM_UP_ROUNDS; i++) await network.download(DOWNLOAD_BYTES);
  asyncFigure(
    `download, MTU ${mtu}: host's reads to frames, with the guest's ACKs`,
    {
      count: Math.ceil(DOWNLOAD_BYTES / segmentBytes(mtu)),
      unit: "frame",
      bytes: DOWNLOAD_BYTES,
    },
    { group: "download" },
    async (stopwatch) => {
      stopwatch.start();
      await network.download(DOWNLOAD_BYTES);
      stopwatch.stop();
    },
  );
}
