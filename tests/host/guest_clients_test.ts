/** In which family a client of a published port comes to the guest, on virtual time. */
import { assert, assertEquals } from "@std/assert";
import { neighborSolicitation } from "../guest/frames.ts";
import { ACK, readSegment, RST, type Segment, segmentFrame, SYN } from "../support/hand_guest.ts";
import { GATEWAY6, GUEST4, GUEST6, pattern, read } from "../support/packets.ts";
import { VirtualGateway } from "../support/virtual_gateway.ts";

/** What came to the guest since the last look. */
function segments(gw: VirtualGateway): Segment[] {
  return gw.frames().flatMap((frame) => {
    const packet = read(frame);
    const segment = packet === null ? null : readSegment(packet);
    return segment === null ? [] : [segment];
  });
}

/** The families of the SYNs that came, by their second. */
async function syns(gw: VirtualGateway, seconds: number): Promise<string> {
  let text = "";
  for (let second = 0; second < seconds; second++) {
    for (const { flags, destination } of segments(gw)) {
      if (flags === SYN) text += ` ${destination === GUEST6 ? 6 : 4}@${second}`;
    }
    await gw.run(1_000);
  }
  return text.trim();
}

function answer({ source, sourcePort, destination, destinationPort, seq }: Segment, flags: number) {
  return segmentFrame({
    source: destination,
    destination: source,
    sourcePort: destinationPort,
    destinationPort: sourcePort,
    flags,
    seq: 7_000,
    ack: (seq + 1) >>> 0,
  });
}

/** A gateway whose guest has an address of either family. */
async function dual(): Promise<VirtualGateway> {
  const gw = new VirtualGateway();
  gw.send(neighborSolicitation(GUEST6, GATEWAY6));
  await gw.settle();
  gw.frames();
  return gw;
}

Deno.test("guest clients: where the guest says nothing the families take turns, with more patience each", async () => {
  await using gw = await dual();
  const client = gw.publish(80)!;
  await gw.settle();
  assertEquals(await syns(gw, 30), "4@0 6@1 6@2 4@4 4@5 4@7 6@11 6@12 6@14 6@18 4@26 4@27 4@29");
  await gw.run(62_000);
  await gw.settle();
  assert(client.isEnded, "in the end the client hears of it");
});

Deno.test("guest clients: a guest that hears nothing of one family is reached over the other in a second", async () => {
  await using gw = await dual();
  const client = gw.publish(80)!;
  await gw.run(1_000);
  const syn = segments(gw).find(({ destination }) => destination === GUEST6)!;
  gw.send(answer(syn, SYN | ACK));
  await gw.run(10);
  client.write(pattern(5));
  await gw.run(10);
  const [data] = segments(gw).filter((segment) => segment.data.length > 0);
  assertEquals([data!.destination, data!.data], [GUEST6, pattern(5)]);
  assertEquals(await syns(gw, 5), "", "the other family is left alone");
});

Deno.test("guest clients: a family that the guest has refused is not tried again", async () => {
  await using gw = await dual();
  const client = gw.publish(80)!;
  await gw.run(1_000);
  const came = segments(gw);
  gw.send(answer(came.find(({ destination }) => destination === GUEST6)!, RST | ACK));
  await gw.run(10);
  const [again, ...more] = segments(gw);
  assertEquals([again!.destination, more], [GUEST4, []]);
  gw.send(answer(again!, RST | ACK));
  await gw.run(10);
  assertEquals(segments(gw), []);
  assert(client.isEnded);
});

Deno.test("guest clients: a guest with one family is asked as long as it may take to start", async () => {
  await using gw = new VirtualGateway({ network: { ipv6: false } });
  gw.publish(80);
  await gw.settle();
  assertEquals(await syns(gw, 40), "4@0 4@1 4@3 4@7 4@15 4@31");
});
