/**
 * A gateway that tells its figures: the module's own server behind the words that the command line
 * is called with, so that `GatewayProcess` starts either.
 *
 *     gateway_program.ts run --listen unix:PATH [--options JSON]
 *
 * For each line on standard input it prints `figures {…}`; it ends with its standard input, so it
 * never outlives a bench, and on SIGTERM as the command line does.
 *
 * @module
 */
import { parseArgs } from "@std/cli";
import {
  type GatewayLogger,
  type GuestFigures,
  parseEndpoint,
  type ServeOptions,
  serveVirtioNetwork,
} from "../../mod.ts";

/** One look into a running gateway. */
export interface Figures extends GuestFigures {
  /** Whether a guest is attached; its figures are 0 otherwise. */
  attached: boolean;
  /** V8's heap in use, garbage included. */
  heapUsedBytes: number;
  /** Memory that V8 counts outside its heap: buffers, WebAssembly. */
  externalBytes: number;
  /** The ports that lead to the guest. */
  publishedPorts: number[];
}

const NO_GUEST: GuestFigures = {
  tcpFlows: 0,
  udpFlows: 0,
  timers: 0,
  relays: 0,
  dials: 0,
  dnsInFlight: 0,
  pings: 0,
  fragmentSets: 0,
  bufferBytes: 0,
  pins: 0,
};

function print(message: string, fields: Record<string, unknown> = {}): void {
  const words = Object.entries(fields).map(([name, value]) => `${name}=${value}`);
  console.log([message, ...words].join(" "));
}

const logger: GatewayLogger = { debug: print, info: print, warn: print, error: print };

if (import.meta.main) {
  const args = parseArgs(Deno.args, {
    string: ["listen", "options", "log-level"],
    default: { options: "{}" },
  });
  const options: ServeOptions = { ...JSON.parse(String(args.options)), logger };
  const server = await serveVirtioNetwork(parseEndpoint(String(args.listen)), options);
  Deno.addSignalListener("SIGTERM", () => void server.close());
  void server.finished.then(() => Deno.exit(0));
  print("ready");
  for await (const _line of Deno.stdin.readable) {
    const { heapUsed, external } = Deno.memoryUsage();
    const figures: Figures = {
      ...(server.guest?.figures() ?? NO_GUEST),
      attached: server.guest !== null,
      heapUsedBytes: heapUsed,
      externalBytes: external,
      publishedPorts: server.published.map((port) => port.hostPort),
    };
    print(`figures ${JSON.stringify(figures)}`);
  }
  await server.abort();
}
