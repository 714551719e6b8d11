/**
 * What forwarding a question costs beside the sockets: drawing a socket and an id, the tables of
 * what is in flight, the timer, and matching the answer. The machine's sockets answer at once.
 *
 *     deno task microbench
 */
import { DEFAULT_LIMITS } from "../lib/config/limits.ts";
import { silentLogger } from "../lib/config/logger.ts";
import { Flag, flagsOf, putWord } from "../lib/dns/message.ts";
import { checkQuestion, type DnsQuestion } from "../lib/dns/question.ts";
import { noDnsCounts } from "../lib/host/dns_counts.ts";
import { DnsUpstreams } from "../lib/host/dns_upstream.ts";
import { type HostSystem, hostSystem } from "../lib/host/host_system.ts";

const IN_FLIGHT = 64;

function question(text: string): [Uint8Array, DnsQuestion] {
  const labels = text.split(".").flatMap((label) => {
    return [label.length, ...new TextEncoder().encode(label)];
  });
  const message = Uint8Array.of(0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1);
  const check = checkQuestion(message);
  if (check.kind !== "question") throw new Error(`Cannot measure: the question is ${check.kind}`);
  return [message, check.question];
}

/** The machine, with sockets to a resolver that answers before anything else happens. */
const system: HostSystem = {
  ...hostSystem,
  openUdpSocket: (_, handler) => ({
    send: (bytes, hostname, port) => {
      const answer = bytes.slice();
      putWord(answer, 2, flagsOf(answer) | Flag.response);
      queueMicrotask(() => handler.onDatagram(answer, hostname, port));
    },
    close: () => {},
  }),
};

const questions = Array.from({ length: IN_FLIGHT }, (_, i) => question(`n${i}.example.com`));

function forwarding(zones: Record<string, string[]>): DnsUpstreams {
  return new DnsUpstreams({
    upstreams: ["192.0.2.53"],
    zones,
    limits: DEFAULT_LIMITS,
    counts: noDnsCounts(),
    logger: silentLogger,
    system: { ...system, requireNet: () => {} },
  });
}

const general = forwarding({});
const zoned = forwarding({ "corp.example": ["192.0.2.54"], "lab.example": ["192.0.2.55"] });

async function askAll(upstreams: DnsUpstreams): Promise<void> {
  const outcomes = await Promise.all(
    questions.map(([message, asked]) => upstreams.ask(message, asked, "udp")),
  );
  if (outcomes.some((outcome) => typeof outcome === "string")) throw new Error("Not answered");
}

Deno.bench(`forward ${IN_FLIGHT} questions`, { group: "forward", baseline: true }, async () => {
  await askAll(general);
});

Deno.bench(`forward ${IN_FLIGHT} questions, two zones`, { group: "forward" }, async () => {
  await askAll(zoned);
});
