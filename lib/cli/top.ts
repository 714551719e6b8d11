/**
 * `top`: a running gateway on the whole screen of a terminal, asked again and again.
 *
 *     gateway ──sample──▶ top_model ─┐
 *     keys ────top_keys──▶ state ────┼─▶ top_view ──lines──▶ top_terminal
 *     size ──────────────────────────┘
 *
 * Where the gateway stops answering, what was known last stays, with a word about it, and it is
 * asked again. Asking takes at most a fifth of the time, however many flows there are.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import type { DenialReport, FlowFilter, GatewayStatus, GuestListing } from "../control/api.ts";
import type { FlowInfo } from "../host/flow_info.ts";
import type { ParsedArguments } from "./arguments.ts";
import { Exit, UsageError } from "./exit.ts";
import { requireGateway } from "./gateway.ts";
import type { CliIo } from "./io.ts";
import { FIRST_STATE, pressKey, type TopPlace, type TopState } from "./top_keys.ts";
import {
  flowKey,
  flowTarget,
  nextModel,
  type TopFlow,
  type TopModel,
  type TopSample,
} from "./top_model.ts";
import { readKeys } from "./terminal_keys.ts";
import { TopTerminal } from "./top_terminal.ts";
import { ASCII_GLYPHS, type Glyphs, UNICODE_GLYPHS } from "./top_text.ts";
import { drawTop } from "./top_view.ts";

/** What is asked of a gateway. */
export interface TopSource {
  guests(): Promise<readonly GuestListing[]>;
  withGuest(name: string): TopSource;
  status(): Promise<GatewayStatus>;
  denialReport(): Promise<DenialReport>;
  flows(filter: FlowFilter): Promise<readonly FlowInfo[]>;
  endFlow(id: number): Promise<boolean>;
}

/** The flow that carries most may be an old one. */
const ALL_FLOWS: FlowFilter = { limit: 65_536 };

const INTERVAL_MS = 1_000;
const INTERVAL_LEAST_MS = 200;
const INTERVAL_MOST_MS = 3_600_000;
/** So many times as long as asking took, nothing is asked. */
const REST_SHARE = 4;
const REST_MOST_MS = 5_000;
/** Asks again at once. */
const NO_REST = -1;
/** The shortest pause after a gateway that did not answer. */
const AGAIN_MS = 1_000;
/** So long a note stays where no key is pressed. */
const NOTE_MS = 5_000;

/**
 * Runs the command.
 *
 * @param _io Nothing is printed there: the screen is the terminal's.
 * @param args The command line.
 * @returns The exit code.
 * @throws {UsageError} Where there is no terminal.
 */
export async function runTop(_io: CliIo, args: ParsedArguments): Promise<number> {
  const intervalMs = parseInterval(args.interval);
  if (!Deno.stdin.isTerminal() || !Deno.stdout.isTerminal()) {
    throw new UsageError(
      "top needs a terminal for its screen and its keys; without one use flows --follow, " +
        "or status --json",
    );
  }
  const client = await requireGateway(args);
  const start = await startOf(client, args.guest);
  const first = nextModel(null, await takeSample(start));
  const color = args.color && !Deno.noColor;
  const glyphs = args.ascii ? ASCII_GLYPHS : UNICODE_GLYPHS;
  const { guest, guests = [] } = start;
  const state: TopState = {
    ...FIRST_STATE,
    screen: args.guest === undefined && guests.length > 1 ? "guests" : "flows",
    guestRow: Math.max(0, guests.findIndex(({ name }) => name === guest)),
  };
  await new TopProgram(start, first, state, { intervalMs, glyphs, color }).run();
  return Exit.Done;
}

/** A guest that is shown. */
interface ShownGuest {
  readonly source: TopSource;
  /** Its name; absent where one alone is served. */
  readonly guest?: string;
  /** The guests that are known. */
  readonly guests?: readonly GuestListing[];
}

/** The guest that is named or, where none is, the first one that answers. */
async function startOf(client: TopSource, named: string | undefined): Promise<ShownGuest> {
  const guests = await client.guests();
  if (guests.length < 2) return { source: client };
  const first = guests.find(({ fault }) => fault === null) ?? guests[0]!;
  const guest = named ?? first.name;
  return { source: client.withGuest(guest), guest, guests };
}

/**
 * Reads `--interval`.
 *
 * @throws {UsageError} Where it is none.
 */
export function parseInterval(text: string | undefined): number {
  if (text === undefined) return INTERVAL_MS;
  const ms = /^[0-9]{1,4}(\.[0-9]{1,3})?$/.test(text) ? Math.round(Number(text) * 1000) : NaN;
  if (ms >= INTERVAL_LEAST_MS && ms <= INTERVAL_MOST_MS) return ms;
  throw new UsageError(
    `--interval: "${text}" is no number of seconds from ${INTERVAL_LEAST_MS / 1000} ` +
      `to ${INTERVAL_MOST_MS / 1000}`,
  );
}

async function takeSample({ source, guest, guests }: ShownGuest): Promise<TopSample> {
  const [status, denials, flows] = await Promise.all([
    source.status(),
    source.denialReport(),
    source.flows(ALL_FLOWS),
  ]);
  return {
    ...{ atMs: performance.now(), timeMs: Date.now(), status, denials, flows },
    ...(guest === undefined ? {} : { guest }),
    ...(guests === undefined ? {} : { guests }),
  };
}

interface TopOptions {
  readonly intervalMs: number;
  readonly glyphs: Glyphs;
  readonly color: boolean;
}

/** The program between its first sample and its end. */
class TopProgram {
  /** Who is asked about. */
  #shown: ShownGuest;
  readonly #options: TopOptions;
  readonly #ended = Promise.withResolvers<void>();
  #terminal: TopTerminal | null = null;
  #model: TopModel;
  #state: TopState;
  #place: TopPlace = { rows: [], pageRows: 0, pageLines: 0, lastLine: 0 };
  /** Why the latest question had no answer. */
  #trouble: string | null = null;
  #noteUntilMs = 0;
  #isOver = false;
  #wake = () => {};

  constructor(shown: ShownGuest, first: TopModel, state: TopState, options: TopOptions) {
    this.#shown = shown;
    this.#model = first;
    this.#state = state;
    this.#options = options;
  }

  /** Runs until a key, a signal or the terminal's end. */
  async run(): Promise<void> {
    using terminal = new TopTerminal({
      color: this.#options.color,
      onResize: () => this.#guarded(() => this.#draw()),
      onStop: () => this.#ended.resolve(),
    });
    this.#terminal = terminal;
    try {
      this.#draw();
      await Promise.race([
        this.#ended.promise,
        readKeys(terminal, (key) => this.#press(key)),
        this.#askAgain(),
      ]);
    } finally {
      this.#isOver = true;
      this.#wake();
    }
  }

  /** What is called from outside ends the program where it fails, with the terminal restored. */
  #guarded(task: () => void | Promise<void>): void {
    (async () => await task())().catch((error) => this.#ended.reject(error));
  }

  #draw(): void {
    const terminal = this.#terminal!;
    const size = terminal.size();
    const form = { ...size, glyphs: this.#options.glyphs };
    const { lines, state, place } = drawTop(this.#model, this.#state, this.#trouble, form);
    this.#state = state;
    this.#place = place;
    terminal.draw(lines, size);
  }

  /** Does what a key says; tells whether that was to quit. */
  #press(key: string): boolean {
    const wasPaused = this.#state.isPaused;
    const { state, action } = pressKey(this.#state, key, this.#place);
    this.#state = state;
    if (action?.kind === "quit") return true;
    if (action?.kind === "end") this.#guarded(() => this.#end(action.flow));
    if (action?.kind === "guest") this.#choose(action.name);
    // The next key is about what this one has changed.
    this.#draw();
    if (wasPaused && !state.isPaused) this.#wake();
    return false;
  }

  /** Asks about another guest from here on; until it is known, what was known stays. */
  #choose(guest: string): void {
    this.#shown = { ...this.#shown, source: this.#shown.source.withGuest(guest), guest };
    this.#state = { ...this.#state, note: `asking about ${guest}` };
    this.#noteUntilMs = 0;
    this.#wake();
  }

  async #end({ info }: TopFlow): Promise<void> {
    const what = flowTarget(info);
    const { source, guest } = this.#shown;
    // The flow is of the guest that is shown still, and not of the one that is asked about.
    if (guest !== this.#model.sample.guest) return;
    const { message } = await this.#answered(async () => {
      // Another guest's flow may have the number of one of a guest that has left.
      const flows = await source.flows(ALL_FLOWS);
      const isThere = flows.some((each) => flowKey(each) === flowKey(info));
      const hasEnded = isThere && await source.endFlow(info.id);
      return { message: hasEnded ? `${what} was ended` : `${what} had ended already` };
    });
    this.#state = { ...this.#state, note: message };
    this.#noteUntilMs = performance.now() + NOTE_MS;
    this.#draw();
    this.#wake();
  }

  /** What comes of a question, or the error that says why nothing does. */
  async #answered<T>(ask: () => Promise<T>): Promise<T | GatewayError> {
    try {
      return await ask();
    } catch (error) {
      if (error instanceof GatewayError) return error;
      throw error;
    }
  }

  async #askAgain(): Promise<void> {
    let tookMs = 0;
    while (!this.#isOver) {
      await this.#rest(tookMs);
      if (this.#isOver || this.#state.isPaused) continue;
      const startMs = performance.now();
      const { guest } = this.#shown;
      const sample = await this.#answered(() => this.#sample());
      const isOfAnother = this.#shown.guest !== guest;
      // Who was chosen meanwhile is asked about at once.
      tookMs = isOfAnother ? NO_REST : performance.now() - startMs;
      if (this.#isOver || this.#state.isPaused || isOfAnother) continue;
      if (sample instanceof GatewayError) {
        this.#trouble = sample.message;
      } else {
        this.#trouble = null;
        this.#model = nextModel(this.#model, sample);
      }
      if (performance.now() >= this.#noteUntilMs) this.#state = { ...this.#state, note: "" };
      this.#draw();
    }
  }

  /** The guests are asked about where they are looked at. */
  async #sample(): Promise<TopSample> {
    const isChoosing = this.#state.screen === "guests" && this.#shown.guests !== undefined;
    if (isChoosing) {
      const guests = await this.#shown.source.guests();
      this.#shown = { ...this.#shown, guests };
      this.#model = { ...this.#model, sample: { ...this.#model.sample, guests } };
    }
    return await takeSample(this.#shown);
  }

  /** Waits until it is time to ask again, or a key wants an answer at once. */
  #rest(tookMs: number): Promise<void> {
    if (tookMs === NO_REST) return Promise.resolve();
    const restMs = Math.min(REST_MOST_MS, REST_SHARE * tookMs);
    const leastMs = this.#trouble === null ? 0 : AGAIN_MS;
    const ms = Math.max(this.#options.intervalMs - tookMs, restMs, leastMs);
    return new Promise((resolve) => {
      const timer = this.#state.isPaused ? undefined : setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
