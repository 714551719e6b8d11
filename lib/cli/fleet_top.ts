/**
 * `fleet top`: the guests of a fleet on the whole screen of a terminal, as their gateways announce
 * them; on a pipe one table, and the end.
 *
 *     announcements ──▶ fleet_top_model ─┐
 *     keys ────fleet_top_keys──▶ state ──┼─▶ fleet_top_view ──lines──▶ top_terminal
 *     size ──────────────────────────────┘
 *
 * Nobody is asked but once at the beginning: gateways speak by themselves. Where the engine is lost,
 * what was known last stays, with a word about it.
 *
 * @module
 */
import { requestError } from "../fleet/engine_request.ts";
import { type HeardWord, hearFleet } from "../fleet/roll_call.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit } from "./exit.ts";
import { LatestDenials } from "./fleet_latest_denials.ts";
import { type EngineConnection, type OpenFleet, openFleet } from "./fleet_engine.ts";
import {
  FIRST_FLEET_STATE,
  type FleetTopPlace,
  type FleetTopState,
  pressFleetKey,
} from "./fleet_top_keys.ts";
import { FleetTopModel } from "./fleet_top_model.ts";
import { fleetTopDocument, fleetTopLines } from "./fleet_top_print.ts";
import { drawFleetTop } from "./fleet_top_view.ts";
import type { CliIo } from "./io.ts";
import { jsonText } from "./json_text.ts";
import { readKeys } from "./terminal_keys.ts";
import { TopTerminal } from "./top_terminal.ts";
import { ASCII_GLYPHS, type Glyphs, UNICODE_GLYPHS } from "./top_text.ts";

/** What the engine has to let the command do. */
const HEARING = "hear the fleet's gateways";
/** Between two pictures. */
const DRAW_MS = 1_000;
/** Where one table is printed: how long gateways are heard, so that all have spoken twice. */
const PRINT_MS = 2_500;
const ASK_MS = 1_000;

/**
 * Runs the command.
 *
 * @param io Where to print, where there is no terminal.
 * @param args The command line.
 * @returns The exit code.
 */
export async function runFleetTop(io: CliIo, args: ParsedArguments): Promise<number> {
  await using access = await openFleet(args);
  const isScreen = !args.json && Deno.stdin.isTerminal() && Deno.stdout.isTerminal();
  if (!isScreen) {
    await printOnce(io, args, access);
    return Exit.Done;
  }
  const color = args.color && !Deno.noColor;
  const glyphs = args.ascii ? ASCII_GLYPHS : UNICODE_GLYPHS;
  await new FleetTopProgram(access, { glyphs, color }).run();
  return Exit.Done;
}

/** Two announcements of each are needed for its rates. */
async function printOnce(
  io: CliIo,
  args: ParsedArguments,
  { connection, fleet }: OpenFleet,
): Promise<void> {
  const model = new FleetTopModel();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  using hearing = hearFleet(connection, fleet, (word) => {
    if (word.kind === "refused") reject(requestError(HEARING, word.error));
    else take(model, word);
  });
  const end = setTimeout(resolve, PRINT_MS);
  const again = setInterval(() => hearing.ask(), ASK_MS);
  try {
    hearing.ask();
    await promise;
  } finally {
    clearTimeout(end);
    clearInterval(again);
  }
  if (args.json) io.out(jsonText(fleetTopDocument(fleet, model), 2));
  else for (const line of fleetTopLines(model)) io.out(line);
}

function take(model: FleetTopModel, word: HeardWord): void {
  if (word.kind === "alive") model.hear(performance.now(), word.announcement);
  if (word.kind === "gone") model.gone(word.gateway);
}

/** The program between its beginning and its end. */
class FleetTopProgram {
  readonly #access: OpenFleet;
  readonly #options: { readonly glyphs: Glyphs; readonly color: boolean };
  readonly #model = new FleetTopModel();
  readonly #ended = Promise.withResolvers<void>();
  readonly #denials: LatestDenials;
  #hearing: ReturnType<typeof hearFleet> | null = null;
  #heard: EngineConnection | null = null;
  #terminal: TopTerminal | null = null;
  #state: FleetTopState = FIRST_FLEET_STATE;
  #place: FleetTopPlace = { rows: [], pageRows: 0, lastLine: 0 };

  constructor(access: OpenFleet, options: { glyphs: Glyphs; color: boolean }) {
    this.#access = access;
    this.#options = options;
    this.#denials = new LatestDenials(access);
  }

  /** Runs until a key, a signal or the terminal's end. */
  async run(): Promise<void> {
    using terminal = new TopTerminal({
      color: this.#options.color,
      onResize: () => this.#draw(),
      onStop: () => this.#ended.resolve(),
    });
    this.#terminal = terminal;
    const end = this.#access.engine.onState(() => this.#follow());
    const timer = setInterval(() => this.#tick(), DRAW_MS);
    try {
      this.#follow();
      this.#draw();
      await Promise.race([this.#ended.promise, readKeys(terminal, (key) => this.#press(key))]);
    } finally {
      end();
      clearInterval(timer);
      this.#hearing?.[Symbol.dispose]();
      this.#denials.close();
    }
  }

  /** Hears the engine as long as there is one; what it is subscribed to outlives a reconnection. */
  #follow(): void {
    const { engine, fleet } = this.#access;
    const connection = engine.connection();
    if (connection === null) return;
    if (connection !== this.#heard) {
      this.#hearing?.[Symbol.dispose]();
      this.#hearing = hearFleet(connection, fleet, (word) => {
        if (word.kind === "refused") this.#ended.reject(requestError(HEARING, word.error));
        else if (!this.#state.isPaused) take(this.#model, word);
      });
      this.#heard = connection;
    }
    this.#model.forgive(performance.now());
    this.#hearing!.ask();
  }

  #tick(): void {
    if (this.#state.isPaused) return;
    this.#model.tick(performance.now(), this.#access.engine.connection() !== null);
    this.#draw();
  }

  #draw(): void {
    const terminal = this.#terminal!;
    const { fleet, engine, servers } = this.#access;
    const size = terminal.size();
    const trouble = engine.connection() === null
      ? `no engine on ${servers.join(", ")}: ${engine.lastError ?? "the connection was lost"}`
      : null;
    const facts = {
      fleet,
      server: engine.server ?? servers.join(", "),
      trouble,
      denials: this.#denials.lines,
    };
    const form = { ...size, glyphs: this.#options.glyphs };
    const { lines, state, place } = drawFleetTop(this.#model, this.#state, facts, form);
    this.#state = state;
    this.#place = place;
    terminal.draw(lines, size);
  }

  /** Does what a key says; tells whether that was to quit. */
  #press(key: string): boolean {
    const wasPaused = this.#state.isPaused;
    const next = pressFleetKey(this.#state, key, this.#place);
    if (next === null) return true;
    this.#state = next;
    // Nobody was heard meanwhile.
    if (wasPaused && !next.isPaused) this.#follow();
    this.#draw();
    return false;
  }
}
