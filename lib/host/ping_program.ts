/**
 * The host's `ping` program, run once for one echo request: the only way in which a process without
 * raw sockets sends one.
 *
 * Runs where Deno grants `--allow-run=ping`, on Linux, whose two programs of that name (iputils,
 * busybox) are the ones that `ping_report.ts` reads. Deno's net permission binds no child, so an
 * address that it leaves out is not pinged either. The child gets numbers and one canonical
 * address literal behind `--`, nothing that the guest wrote; no environment, so it speaks English
 * and loads nothing; and no input. It asks once.
 *
 * Limits: the first 4 KiB of what it prints are kept, the rest is read and forgotten. Whoever starts
 * one keeps count, and kills what takes too long.
 *
 * @module
 */
import { PING_FLAG, shellQuote } from "../config/permission_line.ts";
import { formatIp } from "../wire/address.ts";
import { isGranted } from "./permissions.ts";
import { type PingOutcome, readPingReport } from "./ping_report.ts";

/** Why nothing can be pinged here, or not this address. */
export interface PingObstacle {
  /** The reason in words. */
  readonly detail: string;
  /** The flag of Deno that would change it; `null` where none does. */
  readonly flag: string | null;
}

/** One echo request, as the host is to send it. */
export interface PingRequest {
  /** 4 or 16 octets; where they lead has been judged. */
  readonly address: Uint8Array;
  /** Octets of data. */
  readonly dataBytes: number;
  /** TTL or hop limit. */
  readonly hops: number;
  /** How long an answer is waited for. */
  readonly timeoutMs: number;
}

/** One that is under way. */
export interface RunningPing {
  /** What became of it, once the child is gone. Never rejects. */
  readonly outcome: Promise<PingOutcome>;
  /** Ends it at once. */
  kill(): void;
}

/** Whoever sends echo requests for a guest. */
export interface PingProgram {
  /** What keeps an address from being pinged; `null` for nothing. Never asks a person. */
  obstacle(address: Uint8Array): PingObstacle | null;
  /** Sends one request, or throws the system's error. */
  start(request: PingRequest): RunningPing;
}

const KEPT_BYTES = 4_096;
/** Where the program may not be run at all. */
export const NOT_RUN: PingObstacle = Object.freeze({
  detail: "Deno does not let the gateway run the host's ping program",
  flag: PING_FLAG,
});

/** The host's own program. */
export const pingProgram: PingProgram = {
  obstacle: obstacleTo,
  start: startPing,
};

function obstacleTo(address: Uint8Array): PingObstacle | null {
  if (Deno.build.os !== "linux") {
    return { detail: `no ping program of ${Deno.build.os} is known here`, flag: null };
  }
  if (!isGranted({ name: "run", command: "ping" })) return NOT_RUN;
  const literal = formatIp(address);
  const host = address.length === 4 ? literal : `[${literal}]`;
  if (isGranted({ name: "net", host })) return null;
  const flag = shellQuote(`--allow-net=${host}`);
  return { detail: "Deno does not let the gateway reach the address", flag };
}

/** What the child is told: numbers, and the address as this program writes it. */
export function pingArguments(request: PingRequest): string[] {
  const { address, dataBytes, hops, timeoutMs } = request;
  return [
    address.length === 4 ? "-4" : "-6",
    "-n",
    ...["-c", "1"],
    ...["-W", `${Math.max(1, Math.ceil(timeoutMs / 1000))}`],
    ...["-s", `${dataBytes}`],
    ...["-t", `${hops}`],
    "--",
    formatIp(address),
  ];
}

function startPing(request: PingRequest): RunningPing {
  const child = new Deno.Command("ping", {
    args: pingArguments(request),
    clearEnv: true,
    cwd: "/",
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  return {
    outcome: outcomeOf(child, request),
    kill: () => {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended meanwhile.
      }
    },
  };
}

async function outcomeOf(child: Deno.ChildProcess, request: PingRequest): Promise<PingOutcome> {
  const { address, dataBytes } = request;
  try {
    const [stdout, stderr, { code, signal }] = await Promise.all([
      head(child.stdout),
      head(child.stderr),
      child.status,
    ]);
    if (signal !== null) return { kind: "silent" };
    return readPingReport({ code, stdout, stderr, address, dataBytes });
  } catch (error) {
    return { kind: "failed", text: error instanceof Error ? error.message : String(error) };
  }
}

/** The beginning of a text; the rest is read too, so that its writer does not wait for ever. */
async function head(stream: ReadableStream<Uint8Array>): Promise<string> {
  const kept = new Uint8Array(KEPT_BYTES);
  let length = 0;
  for await (const chunk of stream) {
    const part = chunk.subarray(0, KEPT_BYTES - length);
    kept.set(part, length);
    length += part.length;
  }
  return new TextDecoder().decode(kept.subarray(0, length));
}
