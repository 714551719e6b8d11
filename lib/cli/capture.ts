/**
 * `capture`: the guest's frames of a running gateway, into a file or a program such as Wireshark,
 * until a signal, the end of the gateway, or whoever reads.
 *
 * @module
 */
import { parseCaptureFilter } from "../capture/capture_filter.ts";
import { SNAP_MAX_BYTES, SNAP_MIN_BYTES } from "../capture/pcapng.ts";
import { formatEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import { shellQuote } from "../config/permission_line.ts";
import type { CaptureOptions } from "../control/client.ts";
import { isGranted, permissionError } from "../host/permissions.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit, UsageError } from "./exit.ts";
import { requireGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";
import { hearStops, thisProcess } from "./process_signals.ts";

/** The word for standard output. */
const STDOUT = "-";
const PRIVATE = 0o600;

/** What takes bytes. */
interface Sink extends Disposable {
  write(bytes: Uint8Array): Promise<number>;
}

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runCapture(io: CliIo, args: ParsedArguments): Promise<number> {
  const { write: path = STDOUT } = args;
  if (path === STDOUT && Deno.stdout.isTerminal()) {
    throw new UsageError(
      "a capture is no text for a terminal; write it to a file with -w FILE, or into a program: " +
        "capture -w - | wireshark -k -i -",
    );
  }
  const wanted = readWanted(args);
  requireFile(path);
  const client = await requireGateway(args);
  const signal = stopSignal();
  const blocks = client.capture({ ...wanted, signal });
  let bytes = 0;
  try {
    // Whoever is told no gets no file.
    const first = await blocks.next();
    using sink = path === STDOUT ? standardOutput() : await openFile(path);
    for (let next = first; !next.done; next = await blocks.next()) {
      if (!await writeAll(sink, path, next.value)) return Exit.Done;
      bytes += next.value.length;
    }
  } finally {
    await blocks.return?.();
  }
  if (!signal.aborted) {
    io.err(
      `the capture has ended: the gateway on ${formatEndpoint(client.endpoint)} has, ` +
        "or this was read too slowly",
    );
  }
  if (path !== STDOUT) io.err(`${bytes} bytes are in ${path}`);
  return Exit.Done;
}

function readWanted({ filter, snap }: ParsedArguments): CaptureOptions {
  const parsed = filter === undefined ? null : parseCaptureFilter(filter);
  if (typeof parsed === "string") throw new UsageError(`--filter: ${parsed}`);
  return {
    ...(filter === undefined ? {} : { filter }),
    ...(snap === undefined ? {} : { snapLength: readSnap(snap) }),
  };
}

function readSnap(text: string): number {
  const octets = /^[0-9]{1,9}$/.test(text) ? Number(text) : NaN;
  if (octets >= SNAP_MIN_BYTES && octets <= SNAP_MAX_BYTES) return octets;
  throw new UsageError(
    `--snap: "${text}" is not a whole number of octets from ${SNAP_MIN_BYTES} to ${SNAP_MAX_BYTES}`,
  );
}

/** Aborted by the first signal; a second one ends the process. */
function stopSignal(): AbortSignal {
  const controller = new AbortController();
  hearStops(() => {
    if (controller.signal.aborted) thisProcess.exit(Exit.Failed);
    controller.abort();
  }, thisProcess);
  return controller.signal;
}

function standardOutput(): Sink {
  return { write: (bytes) => Deno.stdout.write(bytes), [Symbol.dispose]: () => {} };
}

function requireFile(path: string): void {
  if (path === STDOUT || isGranted({ name: "write", path })) return;
  const flag = `--allow-write=${path.replaceAll(",", ",,")}`;
  throw permissionError(`write ${path}`, shellQuote(flag));
}

async function openFile(path: string): Promise<Sink> {
  try {
    return await Deno.open(path, { write: true, create: true, truncate: true, mode: PRIVATE });
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** Writes all; false where whoever reads has gone, which is not an error. */
async function writeAll(sink: Sink, path: string, bytes: Uint8Array): Promise<boolean> {
  try {
    for (let at = 0; at < bytes.length;) at += await sink.write(bytes.subarray(at));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return false;
    throw cannotWrite(path, error);
  }
}

function cannotWrite(path: string, error: unknown): GatewayError {
  const place = path === STDOUT ? "stdout" : path;
  return new GatewayError("control", `cannot write ${place}: ${(error as Error).message}`, {
    hint: "Name a file in a folder that is there and has room, with -w FILE",
    cause: error,
  });
}
