/**
 * Text of others as a page may show it: printable ASCII, everything else by its number, so that no
 * name of a guest's turns a line around, hides in it or is as long as it likes. As in `top`.
 *
 * @module
 */

const SHOWN_MAX = 300;

/** Text of others, bounded. */
export function shown(text: string, most = SHOWN_MAX): string {
  const cut = text.length > most ? `${text.slice(0, most)}...` : text;
  return cut.replace(/[^\x20-\x7e]/g, (char) => {
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
