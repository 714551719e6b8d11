/**
 * Dialogues that TCP inputs are made from: each state, each thing that an owner does.
 *
 * @module
 */
import { FRAMES } from "./frames.ts";
import type { Input } from "./input.ts";
import {
  Action,
  Base,
  Bit,
  device,
  icmp,
  link,
  owner,
  Policy,
  policy,
  SACK_BLOCK,
  segment,
  Step,
  SYN_OPTIONS,
  wait,
} from "./tcp_steps.ts";

const { fin: FIN, syn: SYN, rst: RST, psh: PSH, ack: ACK } = Bit;

function opening(flow: number, options: readonly number[] = SYN_OPTIONS): Uint8Array[] {
  return [
    segment({ flow, flags: SYN, seqBase: Base.last, options }),
    owner(flow, Action.accept),
    segment({ flow }),
  ];
}

/** Dialogues to begin with, by name: each state, each thing that an owner does. */
export const TCP_SEEDS: Readonly<Record<string, Input>> = {
  handshake: opening(0),
  handshake6: opening(1),
  plain_syn: opening(2, []),
  guest_sends: [
    ...opening(0),
    segment({ flags: ACK | PSH, dataBytes: 1000 }),
    owner(0, Action.read, 1000),
  ],
  host_sends: [
    ...opening(0),
    owner(0, Action.send, 20_000),
    segment({ ackBase: Base.last }),
    segment({ ackBase: Base.last }),
    wait(1000),
  ],
  echo: [
    policy(Policy.accept | Policy.reads | Policy.echoes),
    ...opening(0),
    segment({ flags: ACK | PSH, dataBytes: 1400 }),
    segment({ flags: ACK | PSH, dataBytes: 1400 }),
    segment({ ackBase: Base.last }),
  ],
  out_of_order: [
    ...opening(0),
    segment({ dataBytes: 500, seqDelta: 500 }),
    segment({ dataBytes: 500, seqDelta: 1500 }),
    segment({ dataBytes: 500 }),
    segment({ dataBytes: 1000 }),
  ],
  large: [
    link(0, 1),
    ...opening(0),
    owner(0, Action.send, 40_000),
    segment({ ackBase: Base.last }),
    segment({ ackBase: Base.last }),
    segment({ ackBase: Base.initial, ackDelta: 30_001 }),
    wait(1000),
  ],
  large_bare: [
    link(0, 2),
    ...opening(0),
    owner(0, Action.send, 40_000),
    segment({ ackBase: Base.last }),
    icmp(0, 3, 4, 1500, Base.last, -1460),
    wait(1000),
    segment({ ackBase: Base.last }),
  ],
  sack: [
    ...opening(0),
    owner(0, Action.send, 8000),
    segment({ ackBase: Base.initial, ackDelta: 1, options: SACK_BLOCK }),
    wait(300),
  ],
  loss: [...opening(0), owner(0, Action.send, 3000), wait(5000), segment({ ackBase: Base.last })],
  guest_closes: [
    ...opening(0),
    segment({ flags: ACK | FIN }),
    owner(0, Action.finish),
    segment({ ackBase: Base.last, seqDelta: 1 }),
  ],
  host_closes: [
    ...opening(0),
    owner(0, Action.finish),
    segment({ flags: ACK | FIN, ackBase: Base.last }),
    wait(11_000),
  ],
  both_close: [...opening(0), owner(0, Action.finish), segment({ flags: ACK | FIN })],
  reopened: [
    ...opening(0),
    owner(0, Action.finish),
    segment({ flags: ACK | FIN, ackBase: Base.last }),
    segment({ flags: SYN, seqDelta: 5000, options: SYN_OPTIONS }),
    owner(0, Action.accept),
  ],
  resets: [...opening(0), segment({ flags: RST, seqDelta: 9 }), segment({ flags: RST })],
  refused: [
    segment({ flags: SYN }),
    owner(0, Action.refuse),
    segment({ flow: 1, flags: SYN }),
    owner(1, Action.drop),
  ],
  aborted: [...opening(0), owner(0, Action.send, 5000), owner(0, Action.abort)],
  published: [
    owner(3, Action.connect),
    segment({
      flow: 3,
      flags: SYN | ACK,
      seqBase: Base.last,
      ackBase: Base.last,
      options: SYN_OPTIONS,
    }),
    owner(3, Action.send, 300),
  ],
  both_open: [
    owner(3, Action.connect),
    segment({ flow: 3, flags: SYN, seqBase: Base.last, options: SYN_OPTIONS }),
    segment({ flow: 3, ackBase: Base.last }),
  ],
  small_window: [
    segment({ flags: SYN, seqBase: Base.last, window: 300 }),
    owner(0, Action.accept),
    segment({ window: 300 }),
    owner(0, Action.send, 3000),
    segment({ ackBase: Base.last, window: 300 }),
    segment({ ackBase: Base.last, window: 1 }),
  ],
  zero_window: [
    ...opening(0),
    segment({ window: 0 }),
    owner(0, Action.send, 3000),
    wait(20_000),
    segment({ window: 1 }),
    wait(60_000),
    segment({ ackBase: Base.last }),
  ],
  slow_host: [
    ...opening(0),
    ...Array.from({ length: 12 }, () => segment({ dataBytes: 1400 })),
    owner(0, Action.read, 9000),
  ],
  pending_operations: [
    ...opening(0),
    segment({ dataBytes: 1000 }),
    owner(0, Action.beginWrite),
    owner(0, Action.beginRead),
    segment({ dataBytes: 1000 }),
    owner(0, Action.endWrite, 700),
    owner(0, Action.endRead, 700),
    owner(0, Action.beginRead),
    owner(0, Action.abort),
    owner(0, Action.endRead, 100),
  ],
  too_big: [...opening(0), owner(0, Action.send, 3000), icmp(0, 3, 4, 800), icmp(0, 3, 1, 0)],
  device_full: [
    ...opening(0),
    device(200),
    owner(0, Action.send, 9000),
    wait(50),
    device(0),
    wait(50),
  ],
  small_link: [
    link(2),
    ...opening(0),
    owner(0, Action.send, 4000),
    segment({ ackBase: Base.last }),
  ],
  large_link: [
    link(3),
    ...opening(0),
    owner(0, Action.send, 40_000),
    segment({ ackBase: Base.last }),
  ],
  flood: Array.from(
    { length: 10 },
    (_, flow) => segment({ flow, flags: SYN, options: SYN_OPTIONS }),
  ),
  full_table: [
    policy(Policy.accept),
    ...Array.from(
      { length: 9 },
      (
        _,
        flow,
      ) => [
        segment({ flow, flags: SYN, seqBase: Base.last, options: SYN_OPTIONS }),
        segment({ flow }),
        ...(flow === 0
          ? [owner(0, Action.finish), segment({ flags: ACK | FIN, ackBase: Base.last })]
          : []),
      ],
    ).flat(),
  ],
  stray: [segment({ flags: ACK }), segment({ flags: FIN }), { ...FRAMES.stray4 }[0]!].map((
    each,
    i,
  ) => i === 2 ? Uint8Array.from([Step.frame, ...each]) : each),
};
