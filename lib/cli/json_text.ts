/**
 * Data as JSON in printable ASCII: text of others can be shown on a terminal, and is the same data to
 * whoever reads it.
 *
 * @module
 */

/**
 * Writes a value.
 *
 * @param value What JSON can say.
 * @param indent How far each level is set in; one line when absent.
 */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(/[^\n -~]/g, (char) => {
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
