/**
 * The dashboard: one page and its files, which ask this interface as any client does.
 *
 * The files hold no secret and are served without a token; what the page shows, it asks for with the
 * token that a person gives it. It loads nothing from elsewhere and runs nothing but its own files,
 * may not be put into a frame, and can't make markup of text (Trusted Types). A browser that has a
 * file is told that it is still good by its ETag.
 *
 * @module
 */
import { DASHBOARD_FILES, type DashboardFile } from "./dashboard_files.ts";
import type { MediaAnswer, Route, RouteRequest } from "./route.ts";

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const HEADERS: Readonly<Record<string, string>> = {
  "Cache-Control": "no-cache",
  "Content-Security-Policy": POLICY,
  "Cross-Origin-Opener-Policy": "same-origin",
  "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
  "Referrer-Policy": "no-referrer",
  "X-Frame-Options": "DENY",
};

/** The routes. */
export const DASHBOARD_ROUTES: readonly Route[] = Object.entries(DASHBOARD_FILES)
  .map(([path, file]): Route => ({
    method: "GET",
    path,
    id: path === "/" ? "getDashboard" : `getDashboardFile_${path.replaceAll(/\W+/g, "_")}`,
    summary: path === "/"
      ? "A page for a browser that shows all of this live"
      : "A file of the page",
    isOpen: true,
    says: { media: file.media, description: "The file.", headers: HEADERS },
    run: (_, request) => answer(file, request),
  }));

function answer({ text, digest }: DashboardFile, { headers }: RouteRequest): MediaAnswer {
  const tag = `"${digest}"`;
  const known = headers.get("if-none-match")?.split(",").map((each) => each.trim()) ?? [];
  const isKnown = known.some((each) => each === "*" || each.replace(/^W\//, "") === tag);
  return isKnown
    ? { body: "", isUnchanged: true, headers: { ETag: tag } }
    : { body: text, headers: { ETag: tag } };
}
