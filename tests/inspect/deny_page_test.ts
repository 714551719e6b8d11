import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { denyPage, type Refusal } from "../../lib/inspect/deny_page.ts";

const REFUSAL: Refusal = {
  name: "example.org",
  destination: "192.0.2.1:80",
  rule: "no rule allows it",
  hint: 'policy: { allow: ["example.org:80"] }',
};

function textOf(refusal: Refusal): string {
  return new TextDecoder("utf-8", { fatal: true }).decode(denyPage(refusal));
}

Deno.test("denyPage() is a whole response", () => {
  assertEquals(
    textOf(REFUSAL),
    [
      "HTTP/1.1 403 Forbidden",
      "Content-Type: text/plain; charset=utf-8",
      "Content-Length: 158",
      "Cache-Control: no-store",
      "X-Content-Type-Options: nosniff",
      "Connection: close",
      "",
      "virtio-gateway denied this request.\n\n" +
      "host:     example.org\n" +
      "address:  192.0.2.1:80\n" +
      "rule:     no rule allows it\n" +
      'way out:  policy: { allow: ["example.org:80"] }\n',
    ].join("\r\n"),
  );
});

Deno.test("denyPage() leaves out a host that is not known", () => {
  assert(!textOf({ ...REFUSAL, name: "" }).includes("host:"));
});

Deno.test("denyPage() cuts what is long", () => {
  const text = textOf({ ...REFUSAL, hint: "x".repeat(600) });
  assert(text.endsWith(`way out:  ${"x".repeat(511)}…\n`));
  assert(textOf({ ...REFUSAL, hint: "x".repeat(512) }).endsWith(`${"x".repeat(512)}\n`));
});

Deno.test("denyPage() reads as what its client library reads it for", async () => {
  const page = denyPage(REFUSAL);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = (async () => {
    using conn = await listener.accept();
    await conn.read(new Uint8Array(4_096));
    await conn.write(page);
  })();
  const { port } = listener.addr as Deno.NetAddr;
  const response = await fetch(`http://127.0.0.1:${port}/`);
  assertEquals(response.status, 403);
  assertEquals(response.headers.get("connection"), "close");
  assertEquals((await response.text()).split("\n").length, 7);
  await served;
  listener.close();
});

Deno.test("denyPage() keeps foreign text in its line, printable and short", () => {
  const breaking = ["\r", "\n", "\0", "\u202e", "\u2028", "\ud800", "a", "é", "😀"];
  const foreign = fc.tuple(
    fc.oneof(
      fc.array(fc.nat(0x2ffff), { maxLength: 20 }).map((codes) => String.fromCodePoint(...codes)),
      fc.string({ unit: fc.constantFrom(...breaking), maxLength: 20 }),
    ),
    fc.nat(60),
  ).map(([text, times]) => text.repeat(times));
  const refusal = fc.record({ name: foreign, destination: foreign, rule: foreign, hint: foreign });
  fc.assert(fc.property(refusal, (each) => {
    const page = denyPage(each);
    assert(page.length < 8_192);
    const text = textOf(each);
    const [head, ...rest] = text.split("\r\n\r\n");
    assertEquals(rest.length, 1);
    assertEquals(head!.split("\r\n").length, 6);
    const bodyBytes = new TextEncoder().encode(rest[0]).length;
    assert(head!.includes(`\r\nContent-Length: ${bodyBytes}\r\n`));
    const rows = rest[0]!.split("\n");
    assertEquals(rows.length, 3 + Object.values(each).filter((value) => value !== "").length);
    assert(!/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(rows.join("")));
  }));
});
