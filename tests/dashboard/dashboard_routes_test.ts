/** The dashboard's files as they are served: headers, ETag, methods, and whether they are fresh. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DASHBOARD_FILES } from "../../lib/control/dashboard_files.ts";
import { GENERATED, generatePage } from "./generate_page.ts";
import { ControlRig } from "../control/control_rig.ts";

/** The whole page may not weigh more. */
const PAGE_MAX_BYTES = 150_000;

Deno.test("the committed module is what its sources make; if not: deno task page", async () => {
  assertEquals(await Deno.readTextFile(GENERATED), await generatePage());
});

Deno.test("the page is small, has no inline code, no address of elsewhere and its license", () => {
  const texts = Object.values(DASHBOARD_FILES).map(({ text }) => text);
  assert(texts.join("").length < PAGE_MAX_BYTES);
  const { text } = DASHBOARD_FILES["/"]!;
  assert(!/\sstyle=|\son[a-z]+=|<style|javascript:|<script(?! src=)/i.test(text));
  for (const [, target] of text.matchAll(/(?:src|href)="([^"#][^"]*)"/g)) {
    assert(DASHBOARD_FILES[target!] !== undefined, target);
  }
  assertStringIncludes(DASHBOARD_FILES["/page/uplot.js"]!.text, "Permission is hereby granted");
  assert(!/innerHTML|insertAdjacentHTML|document\.write|\beval\(/.test(texts.join("")));
});

for (const control of ["tcp", "unix"] as const) {
  Deno.test(`the page and its files are served without a token (${control})`, async () => {
    await using rig = await ControlRig.open({ control });
    for (const [path, { media, text }] of Object.entries(DASHBOARD_FILES)) {
      const answer = await rig.ask("GET", path, { headers: { Authorization: "" } });
      assertEquals([answer.status, answer.text], [200, text], path);
      assertEquals(answer.headers.get("content-type"), media);
      assertEquals(answer.headers.get("x-content-type-options"), "nosniff");
      assertEquals(answer.headers.get("cross-origin-resource-policy"), "same-origin");
      assertEquals(answer.headers.get("referrer-policy"), "no-referrer");
      assertEquals(answer.headers.get("cache-control"), "no-cache");
      const policy = answer.headers.get("content-security-policy")!.split("; ");
      for (
        const word of [
          "default-src 'none'",
          "script-src 'self'",
          "style-src 'self'",
          "connect-src 'self'",
          "base-uri 'none'",
          "form-action 'none'",
          "frame-ancestors 'none'",
          "require-trusted-types-for 'script'",
        ]
      ) assert(policy.includes(word), word);
      assert(!policy.join().includes("unsafe"));
    }
  });
}

Deno.test("what has not changed is not sent again", async () => {
  await using rig = await ControlRig.open({ control: "tcp" });
  const first = await rig.ask("GET", "/");
  const tag = first.headers.get("etag")!;
  assert(/^"[0-9a-f]{24}"$/.test(tag));
  for (const known of [tag, `W/${tag}`, `"other", ${tag}`, "*"]) {
    const again = await rig.ask("GET", "/", { headers: { "If-None-Match": known } });
    assertEquals([again.status, again.text], [304, ""], known);
    assertEquals(again.headers.get("etag"), tag);
    assertEquals(again.headers.get("content-length"), null);
    assert(again.headers.get("content-security-policy") !== null);
  }
  const other = await rig.ask("GET", "/", { headers: { "If-None-Match": '"other"' } });
  assertEquals(other.status, 200);
});

Deno.test("the page is read alone: methods, foreign pages and foreign names are refused", async () => {
  await using rig = await ControlRig.open({ control: "tcp" });
  const head = await rig.ask("HEAD", "/");
  assertEquals([head.status, head.text], [200, ""]);
  for (const method of ["POST", "PUT", "DELETE"]) {
    const answer = await rig.ask(method, "/");
    assertEquals([answer.status, answer.headers.get("allow")], [405, "GET"]);
  }
  const foreign: Record<string, string>[] = [
    { Host: "evil.example" },
    { Origin: "http://evil.example" },
    { "Sec-Fetch-Site": "cross-site" },
  ];
  for (const headers of foreign) {
    assertEquals((await rig.ask("GET", "/page/page.js", { headers })).status, 403);
  }
  const secret = await rig.ask("GET", "/v1/status", { headers: { Authorization: "" } });
  assertEquals(secret.status, 401);
});
