/**
 * The audit that no engine has acknowledged, on disk and within bounds: records in order, from the
 * recorder to the sender.
 *
 *     append ─▶ audit_queue.ts, in memory ─▶ audit_files.ts ─ ─ ─▶ next() ─▶ sender ─▶ done()
 *
 * - A record waits in memory for a second at most, or until `BATCH_BYTES` are together, and is then
 *   written; one that is acknowledged before that never meets the disk. Nothing waits for the disk but
 *   `next` and `close`.
 * - A segment's file is removed when all of its records are done. How far the oldest one is done is
 *   marked at most once a second, so after a kill a second's worth is sent twice, under the same
 *   identities.
 * - All segments have `maxBytes`. Beyond it the oldest one that is full, and of which nothing is with
 *   the sender, is shed: what is not a denial is carried over to the end (as long as that is less than
 *   a quarter of all), the rest is counted, and a record says how much is missing. Such records of what
 *   was shed earlier are folded into one.
 * - Where the disk takes nothing, `MEMORY_BYTES` are kept, and what comes beyond is shed. It is tried
 *   again each second, and said once.
 *
 * @module
 */
import type { GatewayLogger } from "../config/logger.ts";
import type { HostClock, Timer } from "../host/host_clock.ts";
import { QuietWarning } from "../host/quiet_warning.ts";
import type { SpoolFiles, SpoolMark } from "./audit_files.ts";
import { AuditQueue, type SpoolRecord } from "./audit_queue.ts";
import { type AuditRecord, encodeAuditRecord } from "./audit_record.ts";
import { readLines, Segment, SEGMENT_BYTES, type SpoolLine, spoolLine } from "./audit_segment.ts";

/** How long a record waits for others to be written with. */
export const WRITE_MS = 1_000;

/** So much is written at once without waiting. */
export const BATCH_BYTES = 64 * 1024;

/** Denials are kept in memory up to this much that the disk has not taken; other records twice that. */
export const MEMORY_BYTES = 1024 * 1024;

/** The least that the limit of all segments comes to: the sender may hold some of them. */
export const SPOOL_MIN_BYTES = 8 * SEGMENT_BYTES;

/** What a spool works with. */
export interface SpoolOptions {
  readonly files: SpoolFiles;
  /** Octets of all segments. */
  readonly maxBytes: number;
  readonly clock: HostClock;
  readonly logger: GatewayLogger;
  /** A record that says how many were dropped, with how many denials. */
  shedRecord(count: number, denials: number): AuditRecord;
}

/** Keeps records until they are done. */
export class AuditSpool {
  /** Records that were dropped. */
  shed = 0;
  /** Lines of files that are no records. */
  broken = 0;
  /** Why the disk takes nothing; `null` where it does. */
  trouble: string | null = null;
  /** Called when there is more for the sender. */
  onMore: () => void = () => {};
  readonly #options: SpoolOptions;
  readonly #warning: QuietWarning;
  readonly #queue = new AuditQueue();
  /** The highest number that a file had. */
  #lastNumber = 0;
  #mark: SpoolMark | null = null;
  /** Dropped, and in no record yet. */
  readonly #owed = { count: 0, denials: 0 };
  #isLoaded = false;
  #isClosed = false;
  #timer: Timer | undefined;
  #isHurried = false;
  /** Ends when all that was asked of the disk is over. */
  #disk: Promise<void> = Promise.resolve();

  private constructor(options: SpoolOptions) {
    this.#options = options;
    this.#warning = new QuietWarning(options.logger, options.clock.now);
  }

  /** A spool with what an earlier one has left; where that can't be read, it is tried again. */
  static async open(options: SpoolOptions): Promise<AuditSpool> {
    const spool = new AuditSpool(options);
    await spool.write();
    return spool;
  }

  /** Records that wait, those with the sender too. */
  get waiting(): number {
    return this.#queue.waiting;
  }

  /** Octets of those. */
  get waitingBytes(): number {
    return this.#queue.waitingBytes;
  }

  /** When the oldest record that waits was; `null` where none waits. */
  get oldestMs(): number | null {
    return this.#queue.oldestMs;
  }

  /** Takes a record; it is dropped where there is no room at all. */
  append(record: AuditRecord): void {
    if (this.#isClosed) return;
    const line = spoolLine(encodeAuditRecord(record));
    if (line === null) return this.#drop(1, record.kind === "denial" ? record.count : 0);
    const bytes = this.#queue.unwrittenBytes + line.octets.length;
    const maxBytes = line.kind === "life" ? 2 * MEMORY_BYTES : MEMORY_BYTES;
    if (bytes > maxBytes) return this.#drop(1, line.denials);
    this.#add(line);
    if (bytes >= BATCH_BYTES && this.trouble === null) this.#hurry();
  }

  /** The next records in order, those that came {@linkcode back} first; none where none waits. */
  async next(max: number): Promise<SpoolRecord[]> {
    const records = this.#queue.lease(max);
    while (records.length === 0 && this.#queue.isOnDisk) {
      if (!await this.#bring(this.#queue.current)) break;
      records.push(...this.#queue.lease(max));
    }
    return records;
  }

  /** A record has been acknowledged; whether for the first time. */
  done(record: SpoolRecord): boolean {
    this.#wake();
    return this.#queue.done(record);
  }

  /** What is with the sender and not done is to be handed out again. */
  back(): void {
    this.#queue.back();
  }

  /** Writes what waits for it. */
  write(): Promise<void> {
    return this.#onDisk(async () => {
      this.#options.clock.clearTimer(this.#timer);
      this.#timer = undefined;
      this.#isHurried = false;
      try {
        if (!this.#isLoaded) await this.#load();
        await this.#removeFiles();
        await this.#writeLines();
        await this.#keepBound();
        await this.#writeMark();
        if (this.trouble !== null) this.#options.logger.info("the audit is kept on disk again");
        this.trouble = null;
      } catch (error) {
        this.#fail(error);
      }
      const isLeft = this.#queue.obsolete.length > 0 || this.#owed.count > 0;
      if (this.trouble !== null || isLeft) this.#wake();
    });
  }

  /** Writes all of it, to the disk itself; what waits is there for the next start. */
  async close(): Promise<void> {
    await this.write();
    this.#isClosed = true;
    this.#options.clock.clearTimer(this.#timer);
    const { number, written } = this.#queue.segments.at(-1)!;
    if (written > 0) await this.#options.files.sync(number).catch((error) => this.#fail(error));
  }

  #add(line: SpoolLine): void {
    this.#queue.add(line);
    this.#wake();
    this.onMore();
  }

  #drop(count: number, denials: number): void {
    this.shed += count;
    this.#owed.count += count;
    this.#owed.denials += denials;
    this.#wake();
  }

  #wake(): void {
    if (this.#isClosed) return;
    this.#timer ??= this.#options.clock.setTimer(() => void this.write(), WRITE_MS);
  }

  #hurry(): void {
    if (this.#isHurried) return;
    this.#isHurried = true;
    void this.write();
  }

  #onDisk(task: () => Promise<void>): Promise<void> {
    const run = this.#disk.then(task);
    this.#disk = run.catch(() => {});
    return run;
  }

  #fail(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    const { shed } = this;
    if (this.trouble === null) {
      this.#warning.warn("the audit cannot be kept on disk", {
        why,
        keptBytes: MEMORY_BYTES,
        shed,
      });
    }
    this.trouble = why;
  }

  /** Finds what an earlier spool has left. */
  async #load(): Promise<void> {
    const { files, logger } = this.#options;
    const numbers = await files.open();
    const mark = await files.readMark();
    const found: Segment[] = [];
    let broken = 0;
    for (const number of numbers) {
      const octets = await files.read(number).catch(() => null);
      if (octets === null) {
        // It is left where it is, for the next start.
        broken++;
        continue;
      }
      const read = readLines(octets);
      const segment = Segment.of(number, read, mark?.segment === number ? mark.records : 0);
      broken += read.broken;
      // The last one goes on, so that a gateway that starts again and again leaves one file.
      const isLast = number === numbers.at(-1) && this.waiting === 0;
      segment.isSealed = !isLast || !read.isClean || segment.bytes >= SEGMENT_BYTES;
      if (segment.isSealed) segment.lines = null;
      found.push(segment);
    }
    this.#isLoaded = true;
    this.#lastNumber = Math.max(mark?.segment ?? 0, numbers.at(-1) ?? 0);
    this.#queue.adopt(found);
    this.broken = broken;
    if (broken > 0) logger.warn("the audit on disk has lines that cannot be read", { broken });
    this.onMore();
  }

  /** Reads the lines of the segment that is next; whether it is worth to go on. */
  async #bring(segment: Segment): Promise<boolean> {
    let isRead = true;
    await this.#onDisk(async () => {
      if (segment.lines !== null || segment !== this.#queue.current) return;
      try {
        const lines = await this.#linesOf(segment);
        if (lines.length < segment.count) this.#drop(this.#queue.forget(segment), 0);
        else segment.lines = lines;
      } catch (error) {
        this.#fail(error);
        this.#wake();
        isRead = false;
      }
    });
    return isRead;
  }

  async #linesOf(segment: Segment): Promise<SpoolLine[]> {
    try {
      return readLines(await this.#options.files.read(segment.number)).lines;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  async #writeLines(): Promise<void> {
    const { files } = this.#options;
    for (const segment of [...this.#queue.segments]) {
      if (!segment.isDone && segment.written < segment.count) {
        const { count, bytes, writtenBytes } = segment;
        if (segment.number === 0) segment.number = ++this.#lastNumber;
        await files.write(segment.number, writtenBytes, segment.unwritten());
        segment.noteWritten(count, bytes);
      }
      if (segment.isDone || !segment.isWhole) continue;
      if (!segment.isSynced) await files.sync(segment.number);
      segment.isSynced = true;
      this.#queue.release(segment);
    }
  }

  async #removeFiles(): Promise<void> {
    const { obsolete } = this.#queue;
    while (obsolete.length > 0) {
      await this.#options.files.remove(obsolete[0]!);
      obsolete.shift();
    }
  }

  async #keepBound(): Promise<void> {
    const maxBytes = Math.max(this.#options.maxBytes, SPOOL_MIN_BYTES);
    while (this.#queue.bytes > maxBytes) {
      const victim = this.#queue.victim();
      if (victim === null) break;
      await this.#shed(victim, maxBytes / 4);
    }
    const { count, denials } = this.#owed;
    if (count > 0 && this.#queue.unwrittenBytes < MEMORY_BYTES) {
      this.#owed.count = this.#owed.denials = 0;
      const line = spoolLine(encodeAuditRecord(this.#options.shedRecord(count, denials)));
      if (line !== null) this.#add(line);
    }
    // What was carried over is on disk before the file that it came from is removed.
    await this.#writeLines();
    await this.#removeFiles();
  }

  /** Drops the denials of a segment, and carries over what else there is. */
  async #shed(victim: Segment, lifeMaxBytes: number): Promise<void> {
    const lines = victim.lines ?? await this.#linesOf(victim).catch(() => []);
    const { from, count } = this.#queue.drop(victim);
    const left = lines.slice(from, from + count);
    const carried: SpoolLine[] = [];
    let lifeBytes = this.#queue.segments.reduce((sum, each) => sum + each.lifeBytes, 0);
    for (const line of left) {
      if (line.kind === "life") lifeBytes += line.octets.length;
      if (line.shed > 0) {
        this.#owed.count += line.shed;
        this.#owed.denials += line.denials;
      } else if (line.kind === "life" && lifeBytes <= lifeMaxBytes) carried.push(line);
      else this.#drop(1, line.denials);
    }
    if (left.length < count) this.#drop(count - left.length, 0);
    for (const line of carried) this.#add(line);
  }

  async #writeMark(): Promise<void> {
    const mark = this.#queue.mark;
    const isKnown = this.#mark?.segment === mark.segment && this.#mark.records === mark.records;
    if (mark.segment === 0 || mark.records === 0 || isKnown) return;
    await this.#options.files.writeMark(mark);
    this.#mark = mark;
  }
}
