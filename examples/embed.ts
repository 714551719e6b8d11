/**
 * A program with a gateway inside: serves one guest where it is told to, publishes the guest's
 * port 80 on a free port of the host, and ends when the guest has left.
 *
 *     deno run --allow-net --allow-read --allow-write examples/embed.ts unix:/run/vm1.sock
 *
 * @module
 */
import { GatewayError, parseEndpoint, serveVirtioNetwork } from "@virtio/gateway";

/** Serves one guest to its end. */
async function serveOneGuest(endpoint: string, signal: AbortSignal): Promise<void> {
  await using server = await serveVirtioNetwork(parseEndpoint(endpoint), {
    publishedPorts: [{ hostPort: 0, guestPort: 80, bind: ["127.0.0.1"] }],
    dns: { records: { "db.internal": ["10.0.0.5"] } },
    policy: { protect: "strict" },
    limits: { udpFlows: 256 },
    once: true,
    signal,
    logger: {
      debug: () => {},
      info: (message) => console.error(message),
      warn: (message) => console.error(`warning: ${message}`),
      error: (message, fields) => console.error(`error: ${message}`, fields),
    },
  });
  for (const { bind, hostPort } of server.published) {
    console.log(`the guest's port 80 is at http://${bind}:${hostPort}/`);
  }
  await server.finished;
}

if (import.meta.main) {
  const stop = new AbortController();
  Deno.addSignalListener("SIGINT", () => stop.abort());
  try {
    await serveOneGuest(Deno.args[0] ?? "tcp:127.0.0.1:7654", stop.signal);
    Deno.exit(0); // the signal listener would keep the process
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error; // our own fault
    console.error([error.message, error.hint].filter((text) => text !== "").join(". "));
    Deno.exit(1);
  }
}
