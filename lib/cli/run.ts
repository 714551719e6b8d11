/**
 * `run`: serves a VMM until a signal, or until its guest is gone under `--once`.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import { LimitedLog } from "../host/limited_log.ts";
import { createLogger } from "../host/log.ts";
import { LogSink } from "../host/log_sink.ts";
import { readEnvironment, requireEndpoint, requirePublished } from "../host/permissions.ts";
import { serveVirtioNetwork } from "../server.ts";
import type { ParsedArguments } from "./arguments.ts";
import { emptyAllowNotice } from "./empty_allow.ts";
import { Exit, explainError } from "./exit.ts";
import { prepareMember } from "./fleet_member.ts";
import type { CliIo } from "./io.ts";
import { loadConfig, type LoadedGuest } from "./load.ts";
import { notifyManager } from "./notify.ts";
import { checkControl, openControl } from "./open_control.ts";
import { sayReady } from "./ready_line.ts";
import { Reloader } from "./reload.ts";
import { reloadOne } from "./reload_policy.ts";
import { StopSignals } from "./stop_signals.ts";

/**
 * Runs the command.
 *
 * @param io Where to print.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runServe(io: CliIo, args: ParsedArguments): Promise<number> {
  const loaded = await loadConfig(args);
  const { log: form } = loaded.kind === "guest" ? loaded.config.settings : loaded.config.process;
  let lostLine = "";
  const options = { ...form, color: io.color };
  const lostLog = createLogger({ ...options, write: (line) => lostLine = line });
  const sink = new LogSink(Deno.stderr, (lines, reason) => {
    lostLog.error("lines of the log were lost", { lines, reason });
    return lostLine;
  });
  const plain = createLogger({ ...options, write: (line) => sink.line(line) });
  const log = new LimitedLog(plain);
  try {
    const isWhole = loaded.kind === "guest"
      ? await serve(log, args, loaded)
      : await (await import("./run_guests.ts")).serveSeveral({ log, plain }, args, loaded);
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
  requireEndpoint(meeting.endpoint, meeting.mode === "listen" ? "listen on" : "connect to");
  requirePublished(settings.network.publishedPorts);
  const control = await checkControl(settings.control);
  using signals = new StopSignals(log, settings.graceMs);
  const { fleet: membership } = loaded.config;
  using prepared = await prepareMember(log, membership, () => settings.network.limits);
  const [member] = membership?.guests ?? [];
  const network = prepared?.configured(member!.name, settings.network) ?? settings.network;
  await using server = await serveVirtioNetwork(meeting.endpoint, {
    ...network,
    mode: meeting.mode,
    framing: settings.framing,
    once: settings.once,
    lingerMs: settings.lingerMs,
    graceMs: settings.graceMs,
    logger: log,
  });
  signals.stops(server);
  await using fleet = await prepared?.join(server) ?? null;
  const gateway = fleet?.gateways ?? server;
  using reloader = new Reloader(log, args, loaded, () => reloadOne(args, loaded, gateway));
  const controlled = control === null
    ? null
    : await openControl(log, gateway, control, { signals, reloader, fleet });
  const notice = emptyAllowNotice(loaded.config.entries);
  if (notice !== null) log.warn(notice);
  const { endpoint, published } = server;
  sayReady(log, settings.log.format, { settings, meeting, endpoint, published });
  const socket = readEnvironment("NOTIFY_SOCKET");
  if (socket !== undefined) notifyManager(socket, endpoint, "READY=1");
  await server.finished;
  await controlled?.finished;
  return !signals.isForced;
}
