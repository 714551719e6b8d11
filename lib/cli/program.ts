/**
 * Where this program is, for the lines that run it and for what it may read.
 *
 * @module
 */

/** How this program is named on a command line. */
export function programName(): string {
  return programPath("cli.ts") ?? "jsr:@virtio/gateway/cli";
}

/** The folder of the program's modules; `null` where it is not on this disk. */
export function modulesPath(): string | null {
  return programPath("");
}

function programPath(file: string): string | null {
  const url = new URL(`../../${file}`, import.meta.url);
  if (url.protocol !== "file:") return null;
  const path = decodeURIComponent(url.pathname);
  const here = `${Deno.cwd()}/`;
  return path.startsWith(here) ? path.slice(here.length) || "." : path;
}
