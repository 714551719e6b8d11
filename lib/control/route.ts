/**
 * What one line of the table of routes is made of, and what the function behind it is given.
 *
 * A path may have parameters: `/v1/flows/{id}`. A query string is read where the route names its
 * parameters, each at most once; an unknown one is refused. What a route says is JSON by a schema, a
 * stream of events, or of a media type of its own.
 *
 * @module
 */
import type { FleetReport } from "../host/fleet_report.ts";
import type { ReloadReport } from "./api.ts";
import type { EventFeed } from "./event_feed.ts";
import type { ChosenGuest, GuestChoice } from "./guest_choice.ts";
import type { ReplyStream } from "./http_connection.ts";
import type { Schema, SchemaName } from "./schemas.ts";

/** What the functions behind the table work on. */
export interface ControlContext {
  /** The guests that are served. */
  readonly guests: GuestChoice;
  /** What happens at all of them. */
  readonly feed: EventFeed;
  /** The module's version. */
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  /** Whether guests are taken. */
  isReady(): boolean;
  /** Reads the configuration's file again; `null` where the gateway was started without one. */
  readonly reload: (() => Promise<ReloadReport>) | null;
  /** Lets queued bytes drain, and ends. */
  stop(): void;
  /** How the gateway stands in its fleet; `null` where it is in none. */
  readonly fleet: (() => FleetReport) | null;
  /** The document that describes all of this. */
  openApi(): unknown;
  /** How long an answer of a guest's gateway is waited for, in milliseconds. */
  readonly answerMs: number;
}

/** What the functions behind a guest's routes work on. */
export interface GuestContext extends ControlContext, ChosenGuest {}

/** A request that was found in the table. */
export interface RouteRequest {
  /** The body, read; `undefined` where the route takes none. */
  readonly body: unknown;
  /** The number of the event that was seen last. */
  readonly lastEventId: string | undefined;
  /** The parameters of the path by their names, decoded. */
  readonly params: Readonly<Record<string, string>>;
  /** The query's parameters that were sent, all of them named by the route. */
  readonly query: Readonly<Record<string, string>>;
  /** Values by names in small letters. */
  readonly headers: ReadonlyMap<string, string>;
}

/** A parameter of a path or a query. */
export interface RouteParameter {
  readonly name: string;
  /** One line about it. */
  readonly description: string;
  /** What its text stands for. */
  readonly schema: Schema;
}

/** An answer that is no JSON. */
export interface MediaAnswer {
  /** Text, octets, or a function that writes them bit by bit. */
  readonly body: string | Uint8Array | ((out: ReplyStream) => Promise<void>);
  /** What differs from, or comes beside, the headers of its route. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether who asks has it already, and gets no body. */
  readonly isUnchanged?: boolean;
}

/** What a route says that says no JSON. Its function gives a {@linkcode MediaAnswer}. */
export interface Media {
  /** Such as `text/plain; charset=utf-8`. */
  readonly media: string;
  /** One line about it. */
  readonly description: string;
  /** Headers of its own, in place of those that all answers have. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether it is written bit by bit, so that there is no head alone. */
  readonly isStream?: true;
}

/** What a route says: as JSON will carry it, a {@linkcode MediaAnswer}, or a stream of events. */
type Answer = unknown | ((out: ReplyStream) => Promise<void>);

/** A line of the table that is about one guest: the only one, or the one that its path names. */
export interface GuestRoute extends RouteFacts {
  readonly isOfGuest: true;
  /** The answer. */
  readonly run: (context: GuestContext, request: RouteRequest) => Answer;
}

/** A line of the table that is about all of the gateway. */
export interface WholeRoute extends RouteFacts {
  readonly isOfGuest?: never;
  /** The answer. */
  readonly run: (context: ControlContext, request: RouteRequest) => Answer;
}

/** One line of the table. */
export type Route = GuestRoute | WholeRoute;

/** What a line of the table says about itself. */
interface RouteFacts {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** With its parameters in braces, each a whole segment. */
  readonly path: string;
  /** Its name for programs. */
  readonly id: string;
  /** One line about it. */
  readonly summary: string;
  /** Whether it needs no token. */
  readonly isOpen?: true;
  /** The parameters of its path, in their order. */
  readonly params?: readonly RouteParameter[];
  /** What may stand behind the question mark; where it is absent, that is not looked at. */
  readonly query?: readonly RouteParameter[];
  /** What its body is. */
  readonly takes?: SchemaName;
  /**
   * Whether it is one of gvproxy's: a private socket takes its body without Content-Type, as curl
   * sends it, and faults are plain text.
   */
  readonly isGvproxy?: true;
  /** What it says. */
  readonly says: SchemaName | "openapi" | "events" | Media;
  /** Faults of its own. */
  readonly faults?: readonly (404 | 409 | 422 | 501 | 503)[];
}
