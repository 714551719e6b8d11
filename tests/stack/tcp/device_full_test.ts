/** The guest does not take its frames: nothing is lost, nothing spins, and all have their turn. */
import { assert, assertEquals } from "@std/assert";
import { scripted, type TcpScript } from "../../support/tcp_script.ts";

/** The guest stops reading while its device is full to the last frame. */
function full(s: TcpScript): TcpScript {
  s.guestStopsReading();
  const { device } = s.link;
  for (const begin of ["begin", "beginStream"] as const) {
    device[begin](100);
    device.end(100);
  }
  return s;
}

/** The guest takes the frames that filled its device, then what follows. */
function drained(s: TcpScript): TcpScript {
  s.sent();
  return s.guestReadsOn();
}

scripted("the SYN-ACK waits for the device", (s) => {
  s.guest("S 0:0 <mss 1460>");
  drained(full(s).accept().at(500)).expect("@500 S. 0:0 ack 1").at(1499).nothingElse();
  s.at(1500).expect("S. 0:0 ack 1");
});

scripted("an ACK of a SYN-ACK that has not left is a guess, and opens nothing", (s) => {
  s.guest("S 0:0 <mss 1460>");
  full(s).accept().hostSends(100).guest(". 1:1 ack 1", "P. 1:101 ack 1").inState("synReceived");
  drained(s).expect("S. 0:0 ack 1").guest(". 1:1 ack 1").inState("established");
  s.expect("P. 1:101 ack 1").told("established");
});

scripted("data, FIN and ACK wait for the device", (s) => {
  s.established();
  full(s).hostSends(3000).hostFinishes().guest("P. 1:101 ack 1").hostReads(100).at(300);
  drained(s).expect(". 1:1461 ack 101", ". 1461:2921 ack 101", "FP. 2921:3001 ack 101");
});

scripted("an ACK does not wait for the lane that its data waits for", (s) => {
  s.established().guestStopsReading();
  const { streams, hostToGuest } = s.queues;
  streams.fillLimitBytes = 1; // one frame
  s.hostSends(6000);
  assertEquals(hostToGuest.queuedBytes, 0);
  s.guest("P. 1:101 ack 1").hostReads(100).at(10);
  assertEquals([streams.frames, hostToGuest.frames], [1, 1]);
  s.sent();
});

scripted("what SACK has to say waits for the device", (s) => {
  s.established().guest("P. 1:101 ack 1").at(5).expect(". 1:1 ack 101");
  full(s).guest("P. 1:101 ack 1", "P. 201:301 ack 1").at(100);
  drained(s).expect(". 1:1 ack 101 <sack 1:101 201:301>");
});

scripted("retransmissions wait for the device, and are sent once", (s) => {
  s.established({ mss: 1000, rttMs: 10 }).hostSends(5000).segments();
  full(s.at(20)).guest(". 1:1 ack 1 <sack 1001:4001>").at(150);
  drained(s).expect("@150 . 1:1001 ack 1").nothingElse().guest(". 1:1 ack 5001");
  s.counts({ "tcp.retransmit": 1 });
});

scripted("the retransmission timer does not count what never left", (s) => {
  s.established({ mss: 1000, sack: false }).hostSends(1000).segments();
  full(s).at(30_000);
  drained(s).expect("P. 1:1001 ack 1").nothingElse().guest(". 1:1 ack 1001").at(60_000);
});

scripted("a window probe waits for the device", (s) => {
  s.established({ wscale: null, windowBytes: 0 }).hostSends(100);
  full(s).at(1000);
  drained(s).expect("@1000 . 0:0 ack 1").nothingElse().guest(". 1:1 ack 1 win 100");
  s.expect("P. 1:101 ack 1");
});

scripted("connections take turns of 64 KiB", { poolBytes: 32 * 1024 * 1024 }, (s) => {
  for (const port of [40000, 40001]) {
    s.port(port).established({ mss: 1000, rttMs: 0 }).hostSends(600_000);
    while (s.flow.sentEnd < 300_000) {
      s.segments();
      s.after(1).guest(`. 1:1 ack ${s.flow.sentEnd}`);
    }
    s.segments();
  }
  // Both have hundreds of segments to send at once.
  for (const port of [40000, 40001]) {
    const ack = s.port(port).flow.sentEnd;
    s.pushSegment({ flags: ".", seq: 1, dataBytes: 0, ack });
  }
  const order = s.run().segments().filter(({ dataBytes }) => dataBytes > 0)
    .map(({ guestPort }) => guestPort);
  let longest = 0;
  let run = 0;
  order.forEach((port, i) => {
    run = port === order[i - 1] ? run + 1 : 1;
    if (order.slice(i).includes(port === 40000 ? 40001 : 40000)) longest = Math.max(longest, run);
  });
  assert(new Set(order).size === 2);
  assert(longest <= 66, `${longest} segments of one connection in a row`);
});

scripted("a connection that is reset leaves the line for the lane of streams at once", {
  large: "never", // all of it would be one frame
}, (s) => {
  s.established().guestStopsReading();
  const { streams } = s.queues;
  streams.fillLimitBytes = 1; // one frame
  s.hostSends(6000);
  const { connection } = s;
  assertEquals(connection.awaitsLane, true);
  s.guest("R 1:1").told("closed: reset");
  assertEquals(connection.awaitsLane, false);
  s.sent();
});

scripted("a connection that is aborted while it waits for the device is gone", (s) => {
  s.established();
  full(s).hostSends(3000).abort();
  assertEquals([s.endpoint.size, s.pool.usedBytes], [0, 0]);
  drained(s).segments();
});
