/**
 * What the page says and asks: a line that goes by itself, a question that keyboards can answer,
 * and text put on the clipboard.
 *
 * @module
 */
/// <reference lib="dom" />
import { byId, setText } from "./dom.ts";

const SAID_MS = 4_000;
let saidTimer = 0;

/** Says a line for a while. */
export function say(text: string): void {
  const line = byId("said");
  setText(line, text);
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => setText(line, ""), SAID_MS) as unknown as number;
}

/** Asks before something is done that can't be taken back. */
export function confirmed(title: string, text: string, yes: string): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>("ask");
  setText(byId("ask-title"), title);
  setText(byId("ask-text"), text);
  setText(byId("ask-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Puts a text on the clipboard. */
export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied: ${text}`);
  } catch {
    say(`This browser lets no page copy. The line is: ${text}`);
  }
}
