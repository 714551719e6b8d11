/**
 * What guests, networks, fleets and all that is in them are called by: one label of the names that
 * they are asked for by.
 *
 * @module
 */

/** A label: nothing in it needs quoting anywhere. */
export const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** What a label is, for messages. */
export const LABEL_RULE = "up to 63 lower-case letters, digits and hyphens, such as db-1";

/** Whether a text is a label. */
export function isLabel(text: string): boolean {
  return LABEL.test(text);
}
