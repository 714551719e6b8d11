/**
 * The error of a system that has no descriptor left, or none for this one: told and recognised by
 * its code.
 *
 * @module
 */

/** An error that says so. */
export function noDescriptors(message: string): Error {
  return Object.assign(new Error(message), { code: "EMFILE" });
}

/** Whether an error says so, of the process or of the whole system. */
export function isNoDescriptors(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === "EMFILE" || code === "ENFILE";
}
