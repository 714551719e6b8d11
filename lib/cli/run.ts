/**
 * `run`: serves a VMM until a signal, or until its guest is gone under `--once`.
 *
 * @module
 */
import { formatEndpoint, formatHostPort, type VmmEndpoint } from "../config/endpoint.ts";
import { GatewayError } from "../config/errors.ts";
import type { GatewayLogger } from "../config/logger.ts";
import type { ControlPlace } from "../config/control_endpoint.ts";
import type { GatewaySettings } from "../config/resolve.ts";
import { type ControlServer, serveControl } from "../control/control_server.ts";
import { readToken } from "../control/token_file.ts";
import { LimitedLog } from "../host/limited_log.ts";
import { createLogger } from "../host/log.ts";
import { LogSink } from "../host/log_sink.ts";
import { openTelemetry } from "../host/open_telemetry.ts";
import { readEnvironment, requireEndpoint, requirePublished } from "../host/permissions.ts";
import { serveVirtioNetwork, type VirtioNetworkServer } from "../server.ts";
import type { ParsedArguments } from "./arguments.ts";
import { emptyAllowNotice } from "./empty_allow.ts";
import { Exit, explainError } from "./exit.ts";
import type { CliIo } from "./io.ts";
import { VERSION } from "./help.ts";
import { loadConfig, type LoadedGuest, type Meeting } from "./load.ts";
import { notifyManager } from "./notify.ts";
import { type JoinOptions, joinWays } from "./ready.ts";
import { Reloader } from "./reload.ts";
import { reloadOne } from "./reload_policy.ts";

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runServe(io: CliIo, args: ParsedArguments): Promise<number> {
  const loaded = await loadConfig(args);
  if (loaded.kind === "guests") {
    throw new GatewayError("config", `${loaded.configFile ?? "stdin"} lists several guests`, {
      hint: "Name one guest in the file",
    });
  }
  const { settings } = loaded.config;
  let lostLine = "";
  const form = { ...settings.log, color: io.color };
  const lostLog = createLogger({ ...form, write: (line) => lostLine = line });
  const sink = new LogSink(Deno.stderr, (lines, reason) => {
    lostLog.error("lines of the log were lost", { lines, reason });
    return lostLine;
  });
  const log = new LimitedLog(createLogger({ ...form, write: (line) => sink.line(line) }));
  try {
    const isWhole = await serve(log, args, loaded);
    return isWhole ? Exit.Done : Exit.Failed;
  } catch (error) {
    const explained = explainError(error);
    if (explained === null) throw error;
    log.error(explained.message);
    return explained.code;
  } finally {
    log.flush();
    await sink.flush();
  }
}

/** Serves to the end; tells whether that was not forced by a second signal. */
async function serve(
  log: GatewayLogger,
  args: ParsedArguments,
  loaded: LoadedGuest,
): Promise<boolean> {
  const { config: { settings }, meeting } = loaded;
  const { control } = settings;
  requireEndpoint(meeting.endpoint, meeting.mode === "listen" ? "listen on" : "connect to");
  requirePublished(settings.network.publishedPorts);
  if (control !== null) requireEndpoint(control.endpoint, "listen on");
  const token = control?.tokenFile === undefined ? undefined : await readToken(control.tokenFile);
  using signals = new StopSignals(log, settings.graceMs);
  await using server = await serveVirtioNetwork(meeting.endpoint, {
    ...settings.network,
    mode: meeting.mode,
    framing: settings.framing,
    once: settings.once,
    lingerMs: settings.lingerMs,
    graceMs: settings.graceMs,
    logger: log,
  });
  signals.stops(server);
  using reloader = new Reloader(log, args, loaded, () => reloadOne(args, loaded, server));
  const controlled = control === null
    ? null
    : await openControl(log, server, control, token, { signals, reloader });
  const notice = emptyAllowNotice(loaded.config.entries);
  if (notice !== null) log.warn(notice);
  sayReady(log, settings, meeting, server);
  const socket = readEnvironment("NOTIFY_SOCKET");
  if (socket !== undefined) notifyManager(socket, server.endpoint, "READY=1");
  await server.finished;
  await controlled?.finished;
  return !signals.isForced;
}

/** Opens the control interface and says where it is. */
async function openControl(
  logger: GatewayLogger,
  server: VirtioNetworkServer,
  { endpoint }: ControlPlace,
  token: string | undefined,
  { signals, reloader }: { readonly signals: StopSignals; readonly reloader: Reloader },
): Promise<ControlServer> {
  const control = await serveControl(server, endpoint, {
    version: VERSION,
    logger,
    tracer: openTelemetry({ logger }),
    isReady: () => !signals.isStopping,
    stop: () => signals.stop("stop"),
    ...(reloader.hasFile ? { reload: () => reloader.reload("reload") } : {}),
    ...(token === undefined ? {} : { token }),
  });
  const asks = token === undefined ? "" : ", for who has the token";
  logger.info(`the control interface is on ${formatEndpoint(control.endpoint)}${asks}`);
  if (control.endpoint.transport === "tcp") {
    const { hostname, port } = control.endpoint;
    logger.info(`the dashboard is at http://${formatHostPort(hostname, port)}/`);
  }
  return control;
}

/** The line that begins `ready`: where the gateway is met and what a VMM joins it with. */
function sayReady(
  log: GatewayLogger,
  settings: GatewaySettings,
  meeting: Meeting,
  server: VirtioNetworkServer,
): void {
  const { endpoint } = server;
  const isOpen = endpoint.transport === "tcp" && meeting.mode === "listen";
  if (isOpen) {
    const way = meeting.why === undefined ? "use unix:/path instead" : meeting.why;
    log.warn(`TCP is not private: whoever can connect there can take the guest's place; ${way}`);
  }
  for (const { bind, hostPort, guestPort } of server.published) {
    log.info(`published ${formatHostPort(bind, hostPort)} as the guest's port ${guestPort}`);
  }
  const { guestMac = "", mtu = 0, offload = false } = settings.network.guestNetwork;
  const { mode } = meeting;
  const { framing } = settings;
  const options: JoinOptions = { mode, framing, guestMac, mtu, offload };
  const why = meeting.why === undefined || isOpen ? "" : ` (${meeting.why})`;
  const doing = meeting.mode === "listen" ? "listening on" : "connecting to";
  const ready = `ready ${doing} ${formatEndpoint(endpoint)}${why}`;
  const ways = joinWays(absolute(endpoint), options);
  // In text the arguments stand as they are typed, without a second layer of quotes.
  if (settings.log.format === "json") {
    const join = Object.fromEntries(ways);
    log.info(ready, { join });
  } else log.info([ready, ...ways.map(([vmm, way]) => `${vmm}: ${way}`)].join(" | "));
}

/** A VMM may run in another folder. */
function absolute(endpoint: VmmEndpoint): VmmEndpoint {
  if (!("path" in endpoint) || endpoint.path.startsWith("/")) return endpoint;
  return { ...endpoint, path: `${Deno.cwd()}/${endpoint.path.replace(/^(\.\/)+/, "")}` };
}

/** How long the end of everything at once may take: a socket file goes a turn after its socket. */
const ABORT_MAX_MS = 250;

/**
 * The first SIGINT or SIGTERM closes the server, a second one ends the process. The control
 * interface's word is no signal: a service manager's SIGTERM behind it is still the first.
 */
class StopSignals implements Disposable {
  static readonly #names: readonly Deno.Signal[] = ["SIGINT", "SIGTERM"];
  readonly #handlers = new Map<Deno.Signal, () => void>();
  readonly #log: GatewayLogger;
  readonly #graceMs: number;
  #server: VirtioNetworkServer | null = null;
  /** Whether a signal came, or the control interface was told to. */
  isStopping = false;
  /** Whether a second signal came. */
  isForced = false;
  #isSignalled = false;

  constructor(log: GatewayLogger, graceMs: number) {
    this.#log = log;
    this.#graceMs = graceMs;
    for (const name of StopSignals.#names) {
      const handler = (): void => {
        if (this.#isSignalled) {
          log.warn(`${name} again: exiting at once`);
          void this.#server?.abort();
          this.isForced = true;
          setTimeout(() => Deno.exit(Exit.Failed), ABORT_MAX_MS);
          return;
        }
        this.#isSignalled = true;
        if (this.isStopping) log.info(`${name}: stopping already; another signal exits at once`);
        else this.stop(name);
      };
      Deno.addSignalListener(name, handler);
      this.#handlers.set(name, handler);
    }
  }

  /** Closes the server, once; `why` is the signal, or the control interface's word. */
  stop(why: string): void {
    if (this.isStopping) return;
    this.isStopping = true;
    this.#log.info(`${why}: stopping; queued bytes may drain for ${this.#graceMs / 1000} s`);
    void this.#server?.close();
  }

  /** Names what a signal stops; one that came before stops it here. */
  stops(server: VirtioNetworkServer): void {
    this.#server = server;
    if (this.isStopping) void server.close();
  }

  [Symbol.dispose](): void {
    for (const [name, handler] of this.#handlers) Deno.removeSignalListener(name, handler);
  }
}
