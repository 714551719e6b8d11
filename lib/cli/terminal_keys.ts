/**
 * The keys of a terminal as they are pressed: bytes that belong together are waited for.
 *
 * @module
 */
import { KeyReader } from "./top_keys.ts";
import type { TopTerminal } from "./top_terminal.ts";

/** So long an escape waits for what may belong to it. */
const ESCAPE_MS = 50;

/**
 * Reads keys until nobody is there any more, or one of them quits.
 *
 * @param terminal The terminal.
 * @param press Does what a key says; tells whether that was to quit.
 */
export async function readKeys(
  terminal: TopTerminal,
  press: (key: string) => boolean,
): Promise<void> {
  const reader = new KeyReader();
  let reading = terminal.read();
  for (;;) {
    const bytes = reader.isWaiting
      ? await Promise.race([reading, afterMs(ESCAPE_MS)])
      : await reading;
    if (bytes === null) return;
    const keys = bytes === undefined ? reader.flush() : reader.feed(bytes);
    for (const key of keys) if (press(key)) return;
    if (bytes !== undefined) reading = terminal.read();
  }
}

function afterMs(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), ms));
}
