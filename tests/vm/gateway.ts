/**
 * The shipped command line at an endpoint of the test's choice, so that another one can take its
 * place there.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { formatEndpoint, type VmmEndpoint } from "../../lib/config/endpoint.ts";
import { cliWords, type Folder } from "../cli/cli_process.ts";
import { BackgroundProgram } from "../guest/program.ts";

/** A running gateway. */
export interface Gateway extends AsyncDisposable {
  /** Its log. */
  readonly log: BackgroundProgram;
  /** Ends it as SIGTERM does. */
  stop(): Promise<void>;
}

/** Starts a gateway, whose guest reaches the host's loopback, and waits until it is ready. */
export async function startGateway(
  folder: Folder,
  endpoint: VmmEndpoint,
  args: readonly string[] = [],
  mode: "listen" | "connect" = "listen",
): Promise<Gateway> {
  const permissions = [
    ...(endpoint.transport === "unixgram" ? ["--unstable-net"] : []),
    "--allow-net",
    `--allow-read=${folder.path}`,
    `--allow-write=${folder.path}`,
  ];
  const words = ["run", `--${mode}`, formatEndpoint(endpoint), "--host-loopback", ...args];
  const log = new BackgroundProgram(cliWords(permissions, words));
  try {
    await log.line(/\bready\b/, 0, 180_000);
  } catch (error) {
    await log[Symbol.asyncDispose]();
    throw error;
  }
  return {
    log,
    async stop() {
      const { code, forced } = await log.end("SIGTERM", 60_000);
      assertEquals({ code, forced }, { code: 0, forced: false }, log.tail());
    },
    [Symbol.asyncDispose]: () => log[Symbol.asyncDispose](),
  };
}
