/**
 * A program that runs code which it does not trust: the guest reaches what the rules on the command
 * line allow, so many times, and whatever is refused is printed as it happens.
 *
 *     deno run --allow-net --allow-read --allow-write examples/fence.ts unix:/run/vm1.sock \
 *       api.example.com pypi.org files.pythonhosted.org
 *
 * @module
 */
import {
  formatDenial,
  GatewayError,
  type JudgeFunction,
  parseEndpoint,
  serveVirtioNetwork,
  type VirtioNetworkServer,
} from "@virtio/gateway";

/** Flows that one guest may begin. */
const FLOWS_MAX = 1_000;

/** A judge of flows that the rules allow: counts them, and says no when there were enough. */
function budget(flowsMax: number): JudgeFunction {
  let flows = 0;
  return ({ flow: { protocol, address, port }, name }) => {
    if (flows >= flowsMax) return { allow: false, reason: `${flowsMax} flows are enough` };
    flows++;
    console.log(`ALLOW ${protocol} ${name ?? address} port ${port}`);
    return true;
  };
}

/** Prints what happens until the server has ended. */
async function printEvents(server: VirtioNetworkServer): Promise<void> {
  for await (const event of server.events()) {
    if (event.type === "denial") { for (const line of formatDenial(event)) console.log(line); }
    else if (event.type === "events-lost") console.log(`${event.count} events were lost`);
  }
}

/** Serves one guest to its end. */
async function serveFenced(endpoint: string, allow: string[]): Promise<void> {
  await using server = await serveVirtioNetwork(parseEndpoint(endpoint), {
    policy: { protect: "strict", allow },
    rate: { up: 1_000_000, down: 10_000_000, flowsPerSecond: 50 },
    judge: budget(FLOWS_MAX),
    once: true,
  });
  const printed = printEvents(server);
  console.log(`waiting for the guest at ${endpoint}`);
  await server.finished;
  await printed;
}

if (import.meta.main) {
  const [endpoint = "tcp:127.0.0.1:7654", ...allow] = Deno.args;
  try {
    await serveFenced(endpoint, allow.length > 0 ? allow : ["api.example.com"]);
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error; // our own fault
    console.error([error.message, error.hint].filter((text) => text !== "").join(". "));
    Deno.exit(1);
  }
}
