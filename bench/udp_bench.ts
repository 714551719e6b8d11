/**
 * What a datagram costs in the stack, each way: from the read buffer to the flow's owner, and from
 * a host's octets to a frame.
 *
 *     deno task microbench
 */
import { BenchStack } from "./support/bench_stack.ts";
import { figure } from "./support/figure.ts";
import { UDP_DATA_AT, writeDatagram } from "./support/guest_frames.ts";

const DATA_BYTES = 1200;
const DATAGRAMS = 128;
const PEER_PORT = 9_000;
const AMOUNT = { count: DATAGRAMS, unit: "datagram", bytes: DATAGRAMS * DATA_BYTES };

for (const flowCount of [1, 1_000]) {
  const stack = new BenchStack();
  const { link, memory } = stack.harness;
  let taken = 0;
  stack.udpOwner = { opened: () => {}, send: () => void taken++, close: () => {} };
  const peerAt = stack.place(Uint8Array.of(93, 184, 216, 34));
  // All datagrams of the bench, ready to be laid into the read buffer.
  const frameBytes = UDP_DATA_AT + DATA_BYTES;
  const at = stack.place(new Uint8Array(flowCount * frameBytes));
  for (let i = 0; i < flowCount; i++) {
    writeDatagram(link, at + i * frameBytes, peerAt, 10_000 + i, PEER_PORT, DATA_BYTES);
  }
  let next = 0;
  figure(
    `datagrams of the guest, ${flowCount} ${flowCount === 1 ? "flow" : "flows in turn"}`,
    AMOUNT,
    { group: "from the guest", baseline: flowCount === 1 },
    (stopwatch) => {
      for (let i = 0; i < DATAGRAMS; i++) {
        next = (next + 7) % flowCount;
        memory.copy(stack.fillAt, at + next * frameBytes, frameBytes);
        stack.filled(frameBytes);
      }
      const before = taken;
      stopwatch.start();
      stack.walk();
      stopwatch.stop();
      stack.udpFlows.advance(++stack.nowMs);
      if (taken - before !== DATAGRAMS) throw new Error("Cannot measure: datagrams were dropped");
    },
  );
}

{
  const stack = new BenchStack();
  const { link } = stack.harness;
  const peerAt = stack.place(Uint8Array.of(93, 184, 216, 34));
  const data = crypto.getRandomValues(new Uint8Array(DATA_BYTES));
  figure("datagrams for the guest", AMOUNT, { group: "for the guest" }, (stopwatch) => {
    stopwatch.start();
    for (let i = 0; i < DATAGRAMS; i++) {
      stack.udpOutput.sendFromBytes(4, peerAt, link.guestIp4At, PEER_PORT, 10_000, data);
    }
    stopwatch.stop();
    const bytes = DATAGRAMS * (UDP_DATA_AT + DATA_BYTES);
    if (stack.discardSent() !== bytes) throw new Error("Cannot measure: datagrams were dropped");
  });
}
