/**
 * Modules that only those pay for who ask for them. Deno fetches at the start what an `import()` of a
 * literal leads to, used or not, packages too; so these are imported by an address that is made here.
 * Deno then wants to be allowed to read them, where they are on this disk, as it does for workers.
 *
 * @module
 */
import { isGranted, permissionError } from "../host/permissions.ts";
import { shellQuote } from "../config/permission_line.ts";
import { modulesPath } from "./program.ts";

/**
 * Imports a module of the program.
 *
 * @param url Where it is: `new URL("…", import.meta.url)`.
 * @returns What it exports; its type is `typeof import("…")`.
 * @throws {GatewayError} With code `permission` where Deno may not read it.
 */
export async function importApart<T>(url: URL): Promise<T> {
  const modules = modulesPath();
  if (modules !== null && !isGranted({ name: "read", path: modules })) {
    const flag = shellQuote(`--allow-read=${modules.replaceAll(",", ",,")}`);
    throw permissionError("load the modules of a fleet", flag);
  }
  return await import(url.href);
}
