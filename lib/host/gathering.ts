/**
 * One run for what comes piece by piece, such as datagrams: each socket of the runtime brings one in
 * a pass of the event loop, and a turn with its write to the guest costs more than the piece does.
 *
 * A piece by itself waits for the next pass. Where several have come together a moment ago the next
 * ones are awaited as well: until two passes have brought nothing, for a millisecond or 40 passes at
 * the most, and no longer than there is room for more.
 *
 * @module
 */
import type { HostClock } from "./host_clock.ts";

/** A pass or two without a piece may lie between pieces of one flood. */
const SILENT_PASSES = 2;
const PASSES_MAX = 40;
/** A pass lasts as long as the turns of all guests in it. */
const WAIT_MAX_MS = 1;
/** So long after its last run a flood is over. */
const FLOOD_MS = 10;

/** Asked for a run with each piece; runs once for many. */
export class Gathering {
  readonly #clock: HostClock;
  readonly #run: () => void;
  readonly #hasRoom: () => boolean;
  readonly #look = (): void => this.#pass();
  #isDue = false;
  /** Pieces since the last pass, and since the last run. */
  #came = 0;
  #pieces = 0;
  #passes = 0;
  #silentPasses = 0;
  /** Whether more is awaited: several pieces have shared the last run, a moment ago. */
  #isFlood = false;
  #beganMs = 0;
  #ranMs = 0;

  /**
   * @param clock Whose passes are counted.
   * @param run What is done.
   * @param hasRoom Whether more pieces may wait.
   */
  constructor(clock: HostClock, run: () => void, hasRoom: () => boolean) {
    this.#clock = clock;
    this.#run = run;
    this.#hasRoom = hasRoom;
  }

  /** A piece has come; returns when the first one did that the next run is for. */
  add(): number {
    this.#came++;
    if (this.#isDue) return this.#beganMs;
    this.#isDue = true;
    this.#beganMs = this.#clock.now();
    if (this.#beganMs - this.#ranMs > FLOOD_MS) this.#isFlood = false;
    this.#clock.soon(this.#look);
    return this.#beganMs;
  }

  #pass(): void {
    this.#passes++;
    this.#pieces += this.#came;
    this.#silentPasses = this.#came === 0 ? this.#silentPasses + 1 : 0;
    this.#came = 0;
    if (this.#isFlood && this.#mayWait()) return this.#clock.soon(this.#look);
    this.#isFlood = this.#pieces > 1;
    this.#ranMs = this.#clock.now();
    this.#isDue = false;
    this.#pieces = 0;
    this.#passes = 0;
    this.#silentPasses = 0;
    this.#run();
  }

  #mayWait(): boolean {
    return this.#silentPasses < SILENT_PASSES && this.#passes < PASSES_MAX &&
      this.#clock.now() - this.#beganMs < WAIT_MAX_MS && this.#hasRoom();
  }
}
