/**
 * The mixed load of a soak: what one guest does at the same time until it is gone.
 *
 * Everything runs in loops of a few seconds, so that streams, flows and questions begin and end all
 * the time. The guest leaves in the middle of it.
 *
 * @module
 */
import { NETWORK } from "../tests/guest/harness.ts";
import type { BackgroundProgram } from "../tests/guest/program.ts";
import { type Bulk, mbits, type Turns } from "./scale_sharing.ts";
import { answer, type Load, PORTS, sleep } from "./support/lab.ts";

const TURN_SECONDS = 5;
const STREAMS_EACH_WAY = 4;
const CONNECTS_PER_SECOND = 100;
const CLIENTS_PER_SECOND = 20;
const QUESTIONS_PER_SECOND = 20;
const UDP_FLOWS = 64;
const WINDOW = 256;
const GUEST_PORT = 9_000;

/** The port of the guest that is published. */
export const PUBLISHED_PORT = GUEST_PORT;

/** What has been done so far; what failed while the guest was there is counted. */
export interface Tally {
  megabits: number;
  connects: number;
  connectsFailed: number;
  clients: number;
  clientsFailed: number;
  questions: number;
  questionsFailed: number;
  datagrams: number;
  datagramsFailed: number;
  turns: number;
  /** The worst 99th percentile of any few seconds, in milliseconds. */
  turnsP99Ms: number;
}

/** Nothing done yet. */
export function emptyTally(): Tally {
  return {
    megabits: 0,
    connects: 0,
    connectsFailed: 0,
    clients: 0,
    clientsFailed: 0,
    questions: 0,
    questionsFailed: 0,
    datagrams: 0,
    datagramsFailed: 0,
    turns: 0,
    turnsP99Ms: 0,
  };
}

type Word = string | number;

/** One guest's load. */
export class Mix {
  readonly #load: Load;
  readonly #tally: Tally;
  readonly #running = new Set<BackgroundProgram>();
  #over = false;

  /**
   * @param load The gateway with its guest.
   * @param tally Counts on over all guests.
   */
  constructor(load: Load, tally: Tally) {
    this.#load = load;
    this.#tally = tally;
  }

  /**
   * Keeps the guest busy, then takes it away.
   *
   * @param ms How long.
   * @param publishedPort Where the guest's server is reached on the host.
   */
  async run(ms: number, publishedPort: number): Promise<void> {
    const server = await this.#load.guestServer(GUEST_PORT);
    this.#running.add(server);
    const loops = [
      this.#loop(() => this.#bulk("bulk", PORTS.source)),
      this.#loop(() => this.#bulk("upload", PORTS.sink)),
      this.#loop(() => this.#turns()),
      this.#loop(() => this.#connects()),
      this.#loop(() => this.#clients(publishedPort)),
      this.#loop(() => this.#questions()),
      this.#loop(() => this.#datagrams()),
    ];
    // A loop ends before its time only by an error.
    await Promise.race([sleep(ms), Promise.all(loops)]);
    this.#over = true;
    await this.#load.leave();
    for (const program of [...this.#running]) await program.end("SIGKILL");
    await Promise.all(loops);
  }

  async #loop(turn: () => Promise<void>): Promise<void> {
    while (!this.#over) {
      try {
        await turn();
      } catch (error) {
        // The guest is gone, and its programs with it.
        if (!this.#over) throw error;
      }
    }
  }

  async #result<T>(program: BackgroundProgram): Promise<T> {
    this.#running.add(program);
    try {
      return await answer<T>(program);
    } finally {
      this.#running.delete(program);
      await program.end("SIGKILL");
    }
  }

  async #bulk(command: "bulk" | "upload", port: number): Promise<void> {
    const words: Word[] = [command, STREAMS_EACH_WAY, TURN_SECONDS, port, NETWORK.gatewayIp];
    const result = await this.#result<Bulk>(this.#load.client(...words));
    this.#tally.megabits += mbits(result) * result.seconds;
  }

  async #turns(): Promise<void> {
    const client = this.#load.client("rr", TURN_SECONDS, PORTS.echo, NETWORK.gatewayIp);
    const { turns, p99Ms } = await this.#result<Turns>(client);
    this.#tally.turns += turns;
    this.#tally.turnsP99Ms = Math.max(this.#tally.turnsP99Ms, p99Ms);
  }

  async #connects(): Promise<void> {
    // deno-fmt-ignore
    const client = this.#load.client("storm", CONNECTS_PER_SECOND, TURN_SECONDS, WINDOW, 1,
      PORTS.echo, PORTS.echoCount, NETWORK.gatewayIp, NETWORK.gatewayIp6);
    const { started, served } = await this.#result<{ started: number; served: number }>(client);
    this.#tally.connects += started;
    this.#tally.connectsFailed += started - served;
  }

  async #clients(port: number): Promise<void> {
    // deno-fmt-ignore
    const client = this.#load.hostClient("storm", CLIENTS_PER_SECOND, TURN_SECONDS, WINDOW, 1,
      port, 1, "127.0.0.1");
    const { started, served } = await this.#result<{ started: number; served: number }>(client);
    if (this.#over) return;
    this.#tally.clients += started;
    this.#tally.clientsFailed += started - served;
  }

  async #questions(): Promise<void> {
    const client = this.#load.client("dns", QUESTIONS_PER_SECOND, TURN_SECONDS, NETWORK.gatewayIp);
    const { asked, answered } = await this.#result<{ asked: number; answered: number }>(client);
    this.#tally.questions += asked;
    this.#tally.questionsFailed += asked - answered;
  }

  async #datagrams(): Promise<void> {
    const client = this.#load.client("hold-udp", UDP_FLOWS, PORTS.echo, NETWORK.gatewayIp);
    const { answered } = await this.#result<{ answered: number }>(client);
    this.#tally.datagrams += UDP_FLOWS;
    this.#tally.datagramsFailed += UDP_FLOWS - answered;
    await sleep(1_000);
  }
}
