/**
 * What is wrong with a request to the control interface: a status, a word for programs, and for
 * people what it is and the way out.
 *
 * @module
 */

/** What kind of wrong it is. */
export type ControlFaultCode =
  | "bad-request"
  | "unauthorized"
  | "forbidden"
  | "not-permitted"
  | "not-found"
  | "absent"
  | "no-guest"
  | "method-not-allowed"
  | "timeout"
  | "conflict"
  | "guest-needed"
  | "length-required"
  | "too-large"
  | "unsupported-media-type"
  | "invalid"
  | "head-too-large"
  | "bug"
  | "unsupported"
  | "busy"
  | "not-ready";

/** The status that goes with each word. */
export const FAULT_STATUS: Readonly<Record<ControlFaultCode, number>> = {
  "bad-request": 400,
  "unauthorized": 401,
  "forbidden": 403,
  "not-permitted": 403,
  "not-found": 404,
  "absent": 404,
  "no-guest": 404,
  "method-not-allowed": 405,
  "timeout": 408,
  "conflict": 409,
  "guest-needed": 409,
  "length-required": 411,
  "too-large": 413,
  "unsupported-media-type": 415,
  "invalid": 422,
  "head-too-large": 431,
  "bug": 500,
  "unsupported": 501,
  "busy": 503,
  "not-ready": 503,
};

/** A request that gets no result. */
export class ControlFault extends Error {
  override readonly name = "ControlFault";
  /** What kind of wrong it is. */
  readonly code: ControlFaultCode;
  /** The way out; empty where there is none to offer. */
  readonly hint: string;
  /** Headers that go with the status. */
  readonly headers: Readonly<Record<string, string>>;

  /** Makes a fault. */
  constructor(
    code: ControlFaultCode,
    message: string,
    options: { hint?: string; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message);
    this.code = code;
    this.hint = options.hint ?? "";
    this.headers = options.headers ?? {};
  }

  /** The status of the answer. */
  get status(): number {
    return FAULT_STATUS[this.code];
  }
}
