/**
 * What a refusal offers as the way out: the line of a configuration that would allow it, or the
 * document of a fleet that would have to say something else, since nothing local helps against that.
 *
 * A fleet's documents give their rules places such as `fleet.deny[0]`, `group.ci.protect` or
 * `guest.vm1.closed`. What the gateway itself has added for a fleet stands at a place that begins
 * with `fleet: `, and has no way out.
 *
 * @module
 */
import type { ProtectLevel } from "./protect.ts";

const DOCUMENT_PLACE =
  /^(fleet|(?:group|guest)\.[a-z0-9-]{1,63})\.(?:allow|deny|protect|(closed))(?:\[[0-9]+\])?$/;

/** What the places begin with that no document has named. */
export const FLEET_ITSELF = "fleet: ";

/** The configuration line that adds an allow rule; `null` where there is none. */
export function allowHint(rule: string | null, defaultOrigin: string = ""): string | null {
  const closed = closureHint(defaultOrigin);
  if (closed !== undefined) return closed;
  return rule === null ? null : `policy: { allow: ["${rule}"] }`;
}

/** The way out of a deny rule; `null` where there is none. */
export function denyHint(
  { text, origin }: { readonly text: string; readonly origin: string },
): string | null {
  const closed = closureHint(origin);
  if (closed !== undefined) return closed;
  const document = documentOf(origin);
  return document === null
    ? `policy: { deny: [] } without "${text}" (${origin})`
    : `deny: [] without "${text}" in the fleet's document ${document} (${origin})`;
}

/** The way out of a protect level, which stands at `origin` where a fleet has set it. */
export function protectHint(level: ProtectLevel | null, origin: string): string | null {
  if (level === null) return null;
  const closed = closureHint(origin);
  if (closed !== undefined) return closed;
  const document = documentOf(origin);
  return document === null
    ? `policy: { protect: ${level} }`
    : `protect: ${level} in the fleet's document ${document} (${origin})`;
}

/** The way out where everything is closed; `undefined` where it is not. */
function closureHint(origin: string): string | null | undefined {
  if (origin.startsWith(FLEET_ITSELF)) return null;
  const [, document, closed] = DOCUMENT_PLACE.exec(origin) ?? [];
  return closed === undefined ? undefined : `no closed: true in the fleet's document ${document}`;
}

/** The document that a place is in; `null` for a place of the gateway's own configuration. */
function documentOf(origin: string): string | null {
  return DOCUMENT_PLACE.exec(origin)?.[1] ?? null;
}
