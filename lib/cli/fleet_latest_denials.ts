/**
 * The latest refusals of a fleet for the screen of `fleet top`, gathered beside it. Where the stream
 * can't be read, a line says why, and the rest of the screen goes on.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";
import type { AuditRecord } from "../fleet/audit_record.ts";
import { AuditReader } from "../fleet/audit_reader.ts";
import { requestError } from "../fleet/engine_request.ts";
import { denialRecordLines } from "./fleet_denial_text.ts";
import type { OpenFleet } from "./fleet_engine.ts";

/** How many are kept. */
const RECORDS_MAX = 200;

/** The latest refusals. */
export class LatestDenials {
  readonly #end = new AbortController();
  /** The latest first. */
  #records: readonly (readonly string[])[] = [];
  #fault: string | null = null;

  /** Begins to gather them. */
  constructor(access: OpenFleet) {
    this.#gather(access).catch((error) => {
      const fault = error instanceof GatewayError
        ? error
        : requestError("read what the fleet has refused", error);
      this.#fault = [fault.message, fault.hint].filter(Boolean).join(". ");
    });
  }

  /** Them as lines, the latest first. */
  get lines(): readonly string[] {
    return [...this.#fault === null ? [] : [this.#fault], ...this.#records.flat()];
  }

  /** Ends it. */
  close(): void {
    this.#end.abort();
  }

  async #gather({ connection, fleet }: OpenFleet): Promise<void> {
    const reader = new AuditReader(connection, fleet, { kind: "denial" });
    for (const record of await reader.last(RECORDS_MAX)) this.#add(record);
    for await (const record of reader.follow(this.#end.signal)) this.#add(record);
  }

  #add(record: AuditRecord): void {
    if (record.kind !== "denial") return;
    this.#records = [denialRecordLines(record), ...this.#records].slice(0, RECORDS_MAX);
  }
}
