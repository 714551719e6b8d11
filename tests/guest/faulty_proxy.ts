/**
 * The faulty link as a program, for trying things by hand: guests connect to the first endpoint
 * instead of the gateway's own, which is the second.
 *
 *     deno run --allow-net --allow-read --allow-write tests/guest/faulty_proxy.ts \
 *       unix:/tmp/bad.sock unix:/tmp/gateway.sock loss=3 duplicate=1 reorder=5 flip=0.1 delay=2 seed=7
 *
 * Percentages of frames, milliseconds of delay. Ctrl+C prints what the links did.
 *
 * @module
 */
import { type FaultSpec, type LinkEndpoint, listenFaulty } from "../support/faulty_link.ts";

const FIELDS: Record<string, keyof FaultSpec> = {
  loss: "lossPercent",
  duplicate: "duplicatePercent",
  reorder: "reorderPercent",
  flip: "flipPercent",
  delay: "delayMs",
  seed: "seed",
};

function endpoint(text = ""): LinkEndpoint {
  if (!/^(unix:.+|tcp:\d+)$/.test(text)) {
    throw new Error(`No endpoint (unix:PATH, tcp:PORT): ${text}`);
  }
  return text as LinkEndpoint;
}

function readSpec(words: string[]): FaultSpec {
  const spec: FaultSpec = {};
  for (const text of words) {
    const [name = "", value = ""] = text.split("=");
    const field = FIELDS[name];
    if (field === undefined || !/^\d+(\.\d+)?$/.test(value)) throw new Error(`No fault: ${text}`);
    spec[field] = Number(value);
  }
  return spec;
}

if (import.meta.main) {
  const [listen, gateway, ...faults] = Deno.args;
  const running = listenFaulty(endpoint(listen), endpoint(gateway), readSpec(faults));
  console.log(`faulty link at ${listen}, to ${gateway}`);
  Deno.addSignalListener("SIGINT", async () => {
    await running[Symbol.asyncDispose]();
    for (const { toGateway, toGuest } of running.links) console.log({ toGateway, toGuest });
    Deno.exit(0);
  });
}
