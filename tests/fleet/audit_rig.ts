/**
 * Records for the audit, made by hand, and files that fail as a test says.
 *
 * @module
 */
import type { SpoolFiles, SpoolMark } from "../../lib/fleet/audit_files.ts";
import {
  type AuditRecord,
  AuditRecorder,
  type DenialRecord,
  type LifeRecord,
} from "../../lib/fleet/audit_record.ts";
import type { Denial } from "../../lib/policy/denial.ts";

export const GATEWAY = "host-7";

export const DENIAL: Denial = {
  protocol: "tcp",
  name: "pypi.example",
  destination: "192.0.2.7:443",
  rule: "default-deny",
  origin: "",
  reason: "default-deny",
  detail: "there are allow rules, and none covers it",
  hint: 'policy: { allow: ["pypi.example:443"] }',
};

/** Makes records with numbers of their own. */
export class Records {
  readonly #prefix: string;
  #number = 0;

  constructor(instance: string) {
    this.#prefix = `${GATEWAY}-${instance}`;
  }

  denial(count = 1, detail: string = DENIAL.detail): DenialRecord {
    const timeMs = 1_000 + ++this.#number;
    const id = `${this.#prefix}-${this.#number}`;
    const place = { v: 1, id, gateway: GATEWAY, guest: "vm1" } as const;
    return {
      ...place,
      kind: "denial",
      timeMs,
      lastMs: timeMs,
      count,
      denial: { ...DENIAL, detail },
    };
  }

  life(event = "guest-left"): LifeRecord {
    const timeMs = 1_000 + ++this.#number;
    const id = `${this.#prefix}-${this.#number}`;
    return { v: 1, id, kind: "life", gateway: GATEWAY, guest: "vm1", timeMs, event, reason: "end" };
  }

  readonly shed = (count: number, denials: number): AuditRecord => {
    const timeMs = 1_000 + ++this.#number;
    const id = `${this.#prefix}-${this.#number}`;
    const place = { v: 1, id, gateway: GATEWAY, guest: null, timeMs } as const;
    return { ...place, kind: "life", event: "shed", count, denials };
  };
}

/** A recorder of an instance. */
export function recorderOf(instance: string): AuditRecorder {
  return new AuditRecorder({ gateway: GATEWAY, instance });
}

/** Files in memory, on a disk that takes no more where `fault` is set. */
export class MemoryFiles implements SpoolFiles {
  readonly segments = new Map<number, Uint8Array>();
  /** What each operation fails with. */
  fault: Error | null = null;
  /** How often something was written. */
  writes = 0;
  #mark: SpoolMark | null = null;

  open(): Promise<number[]> {
    return this.#try(() => [...this.segments.keys()].sort((a, b) => a - b));
  }

  read(segment: number): Promise<Uint8Array> {
    return this.#try(() => {
      const octets = this.segments.get(segment);
      if (octets === undefined) throw new Deno.errors.NotFound("no such file");
      return octets.slice();
    });
  }

  write(segment: number, offset: number, octets: Uint8Array): Promise<void> {
    return this.#try(() => {
      this.writes++;
      const file = new Uint8Array(offset + octets.length);
      file.set(this.segments.get(segment)?.subarray(0, offset) ?? []);
      file.set(octets, offset);
      this.segments.set(segment, file);
    });
  }

  sync(): Promise<void> {
    return this.#try(() => {});
  }

  remove(segment: number): Promise<void> {
    return this.#try(() => void this.segments.delete(segment));
  }

  readMark(): Promise<SpoolMark | null> {
    return this.#try(() => this.#mark);
  }

  writeMark(mark: SpoolMark): Promise<void> {
    return this.#try(() => void (this.#mark = mark));
  }

  #try<T>(task: () => T): Promise<T> {
    if (this.fault !== null) return Promise.reject(this.fault);
    return new Promise((resolve) => resolve(task()));
  }
}

/** Files of a process that can be killed: what it has not begun by then never happens. */
export class MortalFiles implements SpoolFiles {
  readonly #files: SpoolFiles;
  #isDead = false;
  #running: Promise<unknown> = Promise.resolve();

  constructor(files: SpoolFiles) {
    this.#files = files;
  }

  /** Ends the process, after the operation that runs. */
  async kill(): Promise<void> {
    this.#isDead = true;
    await this.#running;
  }

  open = (): Promise<number[]> => this.#run(() => this.#files.open());
  read = (segment: number): Promise<Uint8Array> => this.#run(() => this.#files.read(segment));
  sync = (segment: number): Promise<void> => this.#run(() => this.#files.sync(segment));
  remove = (segment: number): Promise<void> => this.#run(() => this.#files.remove(segment));
  readMark = (): Promise<SpoolMark | null> => this.#run(() => this.#files.readMark());
  writeMark = (mark: SpoolMark): Promise<void> => this.#run(() => this.#files.writeMark(mark));
  write = (segment: number, offset: number, octets: Uint8Array): Promise<void> =>
    this.#run(() => this.#files.write(segment, offset, octets));

  #run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#isDead) return new Promise(() => {});
    const running = task();
    this.#running = running.catch(() => {});
    return running;
  }
}
