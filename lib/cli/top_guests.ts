/**
 * The screen of `top` on which one of several guests is chosen, pure: its lines, and what keys do
 * there.
 *
 * @module
 */
import { movedRow } from "./top_list.ts";
import type { GuestListing } from "../control/api.ts";
import { columns } from "./columns.ts";
import { bytesText, figureText, plainText } from "./top_text.ts";

/** Which row is marked, and what was chosen. */
export interface GuestChoice {
  readonly row: number;
  /** The guest's name; `null` where none was chosen. */
  readonly chosen: string | null;
}

/** What a key does to the mark. */
export function pressGuestKey(
  row: number,
  key: string,
  names: readonly string[],
  pageRows: number,
): GuestChoice {
  const next = movedRow(key, row, names.length, pageRows) ??
    Math.max(0, Math.min(names.length - 1, row));
  return { row: next, chosen: key === "enter" ? names[next] ?? null : null };
}

const HEADING = ["GUEST", "IS", "FLOWS", "REFUSED", "UP", "DOWN", "NETWORK"];
const FIGURES: readonly number[] = [2, 3, 4, 5];

/** The guests as lines, the first of which is the heading; up and down are octets since the start. */
export function guestLines(guests: readonly GuestListing[], marked: number): string[] {
  const rows = guests.map(({ name, link, fault, flows, refused, network, ...octets }) => [
    plainText(name),
    fault !== null ? "no answer" : link ?? "-",
    ...[flows, refused].map(figureText),
    ...[octets.upBytes, octets.downBytes].map(bytesText),
    plainText(network ?? "-"),
  ]);
  return columns([HEADING, ...rows], FIGURES).map((text, i) => {
    return `${i === marked + 1 ? "*" : " "}  ${text}`;
  });
}

/** The first row that is shown, so that the marked one is. */
export function firstGuestRow(row: number, pageRows: number): number {
  return Math.max(0, row - Math.max(1, pageRows) + 1);
}
