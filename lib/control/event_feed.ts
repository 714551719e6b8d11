/**
 * The gateway's events for the readers of the control interface: numbered, kept for a while, and
 * written as server-sent events once, however many read them.
 *
 *     events ─▶ the last 1,024, each guest's fair part of them ─▶ readers, each a place among them
 *
 * Where there are too many the oldest one goes of the guest that has the most, so that a flood at one
 * guest costs others none of theirs; what is of no guest counts as one more.
 *
 * A reader of one guest's events passes over those of others, and has its place moved on by a number
 * alone where there is nothing else to write. A reader has no queue of its own. One for which an event
 * has gone that it has not read is shed: it comes back with the last number that it saw, and is told
 * how many it has missed; a reader of one guest how many at most. Numbers are good for the life of one
 * feed, whose mark they carry: a number of an earlier one stands before all that is kept.
 *
 * Limits: `KEPT_EVENTS`, `READERS_MAX`, `CHUNK_BYTES` at once for a reader.
 *
 * @module
 */
import type { GatewayEvent } from "../host/gateway_event.ts";

/** How many events are kept to be read again. */
export const KEPT_EVENTS = 1_024;

/** How many may read at the same time. */
export const READERS_MAX = 32;

const CHUNK_BYTES = 65_536;
/** So often a silent reader is written to, which shows whether it is still there. */
const HEARTBEAT_MS = 15_000;

const encoder = new TextEncoder();
/** Where the stream breaks, a browser asks again after this. */
const RETRY_MS = 1_000;

/** An event that is kept. */
interface Kept {
  readonly event: GatewayEvent;
  readonly number: number;
  /** As it is written; made for the first reader. */
  bytes: Uint8Array | null;
  older: Kept | null;
  newer: Kept | null;
  /** The next one of the same guest. */
  nextOfGuest: Kept | null;
}

/** What is kept of a guest, or of none. */
interface Part {
  count: number;
  oldest: Kept;
  newest: Kept;
  /** Number of the event that went last, and how many have gone. */
  lostNumber: number;
  lost: number;
}

/** Events with their numbers, for some readers. */
export class EventFeed {
  readonly #mark: string;
  #oldest: Kept | null = null;
  #newest: Kept | null = null;
  #count = 0;
  /** By guest. */
  readonly #parts = new Map<string | undefined, Part>();
  readonly #readers = new Set<EventReader>();
  /** Number of the next event. */
  #next = 1;
  #closed = false;

  /** Makes a feed whose numbers carry a mark, of small letters and digits. */
  constructor(mark: string) {
    this.#mark = mark;
  }

  /** How many read. */
  get readers(): number {
    return this.#readers.size;
  }

  /** Takes all events of an iteration; resolves when that has ended, and all readers with it. */
  async follow(events: AsyncIterable<GatewayEvent>): Promise<void> {
    for await (const event of events) this.push(event);
    this.close();
  }

  /** Takes an event. */
  push(event: GatewayEvent): void {
    const older = this.#newest;
    const kept: Kept = {
      event,
      number: this.#next++,
      bytes: null,
      older,
      newer: null,
      nextOfGuest: null,
    };
    if (older === null) this.#oldest = kept;
    else older.newer = kept;
    this.#newest = kept;
    this.#count++;
    this.#addToPart(kept);
    const gone = this.#count > KEPT_EVENTS ? this.#dropOne() : null;
    for (const reader of this.#readers) {
      if (gone !== null && reader.misses(gone.number, gone.event.guest)) reader.shed();
      else reader.wake();
    }
  }

  #addToPart(kept: Kept): void {
    const { guest } = kept.event;
    const part = this.#parts.get(guest);
    if (part === undefined || part.count === 0) {
      const { lostNumber = 0, lost = 0 } = part ?? {};
      this.#parts.set(guest, { count: 1, oldest: kept, newest: kept, lostNumber, lost });
      return;
    }
    part.newest.nextOfGuest = kept;
    part.newest = kept;
    part.count++;
  }

  /** Makes room: of the guest that has the most the oldest one goes. */
  #dropOne(): Kept {
    let most: Part | null = null;
    for (const part of this.#parts.values()) {
      if (most === null || part.count > most.count) most = part;
    }
    const { oldest } = most!;
    most!.count--;
    most!.lost++;
    most!.lostNumber = oldest.number;
    if (oldest.nextOfGuest !== null) most!.oldest = oldest.nextOfGuest;
    const { older, newer } = oldest;
    if (older === null) this.#oldest = newer;
    else older.newer = newer;
    if (newer === null) this.#newest = older;
    else newer.older = older;
    this.#count--;
    return oldest;
  }

  /** Ends all readers, each after what is there for it. */
  close(): void {
    this.#closed = true;
    for (const reader of this.#readers) reader.wake();
  }

  /**
   * Reads from now on, or from behind an event that was seen.
   *
   * @param lastEventId The number of that event, as it was written.
   * @param guest The one whose events are wanted; all where it is absent.
   * @returns `null` where too many read already; else it must be closed.
   */
  open(lastEventId: string | undefined, guest: string | null = null): EventReader | null {
    if (this.#readers.size >= READERS_MAX) return null;
    const place = this.#placeBehind(lastEventId);
    const reader: EventReader = new EventReader(this, { place, guest }, () => {
      this.#readers.delete(reader);
    });
    this.#readers.add(reader);
    return reader;
  }

  /** Whether nothing more will come. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /** Number of the first event that is kept, or of the next one. */
  get first(): number {
    return this.#oldest?.number ?? this.#next;
  }

  /** Number of the first event from a place on that is kept, or of the next one. */
  firstFrom(place: number): number {
    return this.#from(place)?.number ?? this.#next;
  }

  /** How many events from a place on are kept no more: of a guest how many at most. */
  lostFrom(place: number, guest: string | null): number {
    let lost = this.#next - place;
    for (let kept = this.#from(place); kept !== null; kept = kept.newer) lost--;
    if (guest === null || lost === 0) return lost;
    let ofGuest = 0;
    for (const part of [this.#parts.get(guest), this.#parts.get(undefined)]) {
      if (part !== undefined && part.lostNumber >= place) ofGuest += part.lost;
    }
    return Math.min(lost, ofGuest);
  }

  /** What is there of a guest from a place on, not too much at once, and the place behind it. */
  chunk(place: number, guest: string | null): { bytes: Uint8Array; place: number } | null {
    if (place >= this.#next) return null;
    const parts: Uint8Array[] = [];
    let bytes = 0;
    let kept = this.#from(place);
    for (; kept !== null && bytes < CHUNK_BYTES; kept = kept.newer) {
      // What is of no guest is for all readers.
      if (guest !== null && (kept.event.guest ?? guest) !== guest) continue;
      const part = this.#written(kept);
      parts.push(part);
      bytes += part.length;
    }
    return { bytes: join(parts), place: kept?.number ?? this.#next };
  }

  /** The first event from a place on, which is near the end mostly. */
  #from(place: number): Kept | null {
    let first: Kept | null = null;
    for (let kept = this.#newest; kept !== null && kept.number >= place; kept = kept.older) {
      first = kept;
    }
    return first;
  }

  /** The number of an event, as it is written. */
  idOf(place: number): string {
    return `${this.#mark}-${place}`;
  }

  #written(kept: Kept): Uint8Array {
    const { event, number } = kept;
    return kept.bytes ??= encoder.encode(
      `id: ${this.idOf(number)}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`,
    );
  }

  #placeBehind(id: string | undefined): number {
    if (id === undefined || id === "") return this.#next;
    const [, mark, digits] = /^([0-9a-z]+)-([0-9]{1,15})$/.exec(id) ?? [];
    if (mark !== this.#mark) return this.first;
    return Math.min(this.#next, Number(digits) + 1);
  }
}

/** One who reads a feed. */
export class EventReader {
  /** Leaves; can be called again. */
  readonly close: () => void;
  /** Hears that it has fallen too far behind, also while it is being written to. */
  onShed: () => void = () => {};
  readonly #feed: EventFeed;
  readonly #guest: string | null;
  #place: number;
  #isNew = true;
  #left = false;
  #wake: (() => void) | null = null;

  /** For `EventFeed.open`. */
  constructor(
    feed: EventFeed,
    { place, guest }: { readonly place: number; readonly guest: string | null },
    onClose: () => void,
  ) {
    this.#feed = feed;
    this.#guest = guest;
    this.#place = place;
    this.close = () => {
      if (this.#left) return;
      this.#left = true;
      onClose();
      this.wake();
    };
  }

  /** Whether an event that has gone is one that it should have read. */
  misses(number: number, guest: string | undefined): boolean {
    if (this.#isNew || number < this.#place) return false;
    return this.#guest === null || (guest ?? this.#guest) === this.#guest;
  }

  /** Ends it, as it is too slow. */
  shed(): void {
    this.close();
    this.onShed();
  }

  /** What to write next; `null` where the stream is over, or the reader too far behind. */
  async next(): Promise<Uint8Array | null> {
    if (this.#isNew) return this.#begin();
    const untilMs = performance.now() + HEARTBEAT_MS;
    for (;;) {
      if (this.#left) return null;
      const chunk = this.#feed.chunk(this.#place, this.#guest);
      if (chunk !== null) {
        this.#place = chunk.place;
        if (chunk.bytes.length > 0) return chunk.bytes;
      } else if (this.#feed.isClosed) return null;
      else if (performance.now() >= untilMs) return this.#heartbeat();
      else await this.#waits(untilMs);
    }
  }

  /** Something has changed. */
  wake(): void {
    this.#wake?.();
    this.#wake = null;
  }

  /** The first bytes say where the reading begins, and what can't be read any more. */
  #begin(): Uint8Array {
    this.#isNew = false;
    const count = this.#feed.lostFrom(this.#place, this.#guest);
    this.#place = this.#feed.firstFrom(this.#place);
    const opening = `retry: ${RETRY_MS}\nid: ${this.#feed.idOf(this.#place - 1)}\n\n`;
    if (count === 0) return encoder.encode(opening);
    const data = JSON.stringify({ type: "events-lost", count } satisfies GatewayEvent);
    return encoder.encode(`${opening}event: events-lost\ndata: ${data}\n\n`);
  }

  /** Says no more than up to where all has been read: events of other guests may push it out. */
  #heartbeat(): Uint8Array {
    const id = this.#guest === null ? "" : `id: ${this.#feed.idOf(this.#place - 1)}\n`;
    return encoder.encode(`: still here\n${id}\n`);
  }

  /** Waits for a change, or until then. */
  #waits(untilMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, untilMs - performance.now()));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
