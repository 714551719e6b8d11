/**
 * The gateway's events, read from a stream with the token as a header, which `EventSource` can't
 * send. A stream that breaks is opened again behind the last event that was seen.
 *
 * @module
 */
/// <reference lib="dom" />
import type { GatewayEvent } from "../../host/gateway_event.ts";
import { type Gateway, Refusal } from "./gateway.ts";

/** How the stream is. */
export type StreamState = "open" | "waiting" | "full";

/** Hears of what comes. */
export interface StreamReader {
  event(event: GatewayEvent, id: string): void;
  state(state: StreamState): void;
}

const AGAIN_MS = 2_000;
/** More than an event ever has. */
const PENDING_MAX = 1_048_576;

/** A stream of events that goes on until it is closed. */
export class EventStream {
  readonly #gateway: Gateway;
  readonly #reader: StreamReader;
  #lastEventId: string | null = null;
  #stop: AbortController | null = null;

  /** Makes a stream, not yet open. */
  constructor(gateway: Gateway, reader: StreamReader) {
    this.#gateway = gateway;
    this.#reader = reader;
  }

  /** Opens it, where it is not. */
  open(): void {
    if (this.#stop !== null) return;
    this.#stop = new AbortController();
    void this.#run(this.#stop.signal);
  }

  /** Closes it; it can be opened again. */
  close(): void {
    this.#stop?.abort();
    this.#stop = null;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const answer = await this.#gateway.events(this.#lastEventId, signal);
        this.#reader.state("open");
        await this.#read(answer.body!);
      } catch (error) {
        if (signal.aborted) return;
        this.#reader.state(error instanceof Refusal && error.status === 503 ? "full" : "waiting");
      }
      if (signal.aborted) return;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }

  async #read(body: ReadableStream<Uint8Array>): Promise<void> {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let pending = "";
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        const parts = (pending + decoder.decode(value, { stream: true })).split("\n\n");
        pending = parts.pop()!;
        for (const part of parts) this.#take(part);
        if (pending.length > PENDING_MAX) throw new Error("an event without an end");
      }
    } finally {
      void reader.cancel().catch(() => {});
    }
  }

  #take(part: string): void {
    let data = "";
    let id = "";
    for (const line of part.split("\n")) {
      if (line.startsWith("data: ")) data += line.slice(6);
      if (line.startsWith("id: ")) id = line.slice(4);
    }
    if (data === "") return;
    if (id !== "") this.#lastEventId = id;
    this.#reader.event(JSON.parse(data), id);
  }
}
