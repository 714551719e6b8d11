import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { yamlPositions } from "../../lib/config/yaml_positions.ts";

function places(text: string): Record<string, string> {
  return Object.fromEntries(
    [...yamlPositions(text)].map(([path, { line, column }]) => [path, `${line}:${column}`]),
  );
}

Deno.test("block mappings and lists", () => {
  const text = [
    "# a comment: with a colon",
    "listen: unix:/run/a.sock   # endpoint",
    "",
    "guestNetwork:",
    "  mtu: 1500",
    "  guestMac: 02:53:4d:00:00:02",
    "publish:",
    '- "8080:80"',
    "- host: 0",
    "  guest: 22",
    "  bind:",
    "    - 127.0.0.1",
    "once: true",
  ].join("\n");
  assertEquals(places(text), {
    listen: "2:1",
    guestNetwork: "4:1",
    "guestNetwork.mtu": "5:3",
    "guestNetwork.guestMac": "6:3",
    publish: "7:1",
    "publish[0]": "8:1",
    "publish[1]": "9:1",
    "publish[1].host": "9:3",
    "publish[1].guest": "10:3",
    "publish[1].bind": "11:3",
    "publish[1].bind[0]": "12:5",
    once: "13:1",
  });
});

Deno.test("flow collections over several lines", () => {
  const text = [
    "dns: { upstreams: [system, 1.1.1.1:53], # two",
    '       records: {"db.internal": [10.0.0.5],',
    "                 'x y': fd00::5} }",
    "policy: {protect: strict}",
  ].join("\n");
  assertEquals(places(text), {
    dns: "1:1",
    "dns.upstreams": "1:8",
    "dns.upstreams[0]": "1:20",
    "dns.upstreams[1]": "1:28",
    "dns.records": "2:8",
    "dns.records.db.internal": "2:18",
    "dns.records.db.internal[0]": "2:34",
    "dns.records.x y": "3:18",
    policy: "4:1",
    "policy.protect": "4:10",
  });
});

Deno.test("what looks like a key inside a scalar is none", () => {
  const text = [
    "a: |",
    "  b: 1",
    "",
    "  c: 2",
    'd: "x: 1',
    '  e: 2"',
    "f: 'it''s: #no'",
    "g: &anchor !tag {h: 1}",
    "---",
    "i: >-",
    "  j: 1",
  ].join("\n");
  assertEquals(places(text), {
    a: "1:1",
    d: "5:1",
    f: "7:1",
    g: "8:1",
    "g.h": "8:18",
    i: "10:1",
  });
});

Deno.test("carriage returns do not move a column", () => {
  assertEquals(places("a: 1\r\nb: {c: 1,\r\n d: 2}\r\n"), {
    a: "1:1",
    b: "2:1",
    "b.c": "2:5",
    "b.d": "3:2",
  });
});

/** A document of nested mappings and lists, written in block or flow style at random. */
const key = fc.stringMatching(/^[a-z][a-z0-9_-]{0,6}$/);
const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.stringMatching(/^[a-z0-9.:/]{0,5}[a-z0-9]$/),
    fc.array(tie("tree"), { minLength: 1, maxLength: 3 }),
    fc.dictionary(key, tie("tree"), { minKeys: 1, maxKeys: 3 }),
  ),
}));

/** Writes a tree and notes where each entry stands. */
function write(value: unknown, flow: () => boolean): { text: string; places: Map<string, string> } {
  let text = "";
  const places = new Map<string, string>();
  const here = (): string => {
    const lines = text.split("\n");
    return `${lines.length}:${lines.at(-1)!.length + 1}`;
  };
  const inline = (node: unknown, path: string): void => {
    if (typeof node === "string") {
      text += `"${node}"`;
      return;
    }
    const isList = Array.isArray(node);
    text += isList ? "[" : "{";
    for (const [name, child] of Object.entries(node as object)) {
      text += " ";
      const entry = isList ? `${path}[${name}]` : path === "" ? name : `${path}.${name}`;
      places.set(entry, here());
      if (!isList) text += `${name}: `;
      inline(child, entry);
      text += ",";
    }
    text += isList ? "]" : "}";
  };
  const block = (node: unknown, path: string, indent: number): void => {
    const isList = Array.isArray(node);
    for (const [name, child] of Object.entries(node as object)) {
      text += " ".repeat(indent);
      const entry = isList ? `${path}[${name}]` : path === "" ? name : `${path}.${name}`;
      places.set(entry, here());
      text += isList ? "-" : `${name}:`;
      if (typeof child === "string" || flow()) {
        text += " ";
        inline(child, entry);
        text += "\n";
      } else {
        text += "\n";
        block(child, entry, indent + 2);
      }
    }
  };
  block(value, "", 0);
  return { text, places };
}

Deno.test("every key and item of any document has its place", () => {
  const document = fc.dictionary(key, tree, { minKeys: 1, maxKeys: 4 });
  fc.assert(fc.property(document, fc.infiniteStream(fc.boolean()), (value, choices) => {
    const { text, places: expected } = write(value, () => choices.next().value);
    assertEquals(places(text), Object.fromEntries(expected), text);
  }));
});

Deno.test("no text makes the scanner fail or hang", () => {
  const piece = fc.constantFrom(
    "a",
    ":",
    " ",
    "\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    "-",
    '"',
    "'",
    "#",
    "|",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
      yamlPositions(pieces.join(""));
    }),
    { numRuns: 2000 },
  );
});
