/**
 * Line and column of every key and list item of a YAML document, which `@std/yaml` does not tell.
 *
 * The scanner runs after the real parser took the document, so it may be lenient: it knows block
 * and flow collections, quotes, comments and block scalars, and where it does not understand a
 * place (an alias, a complex key) that place just has no position. It builds no values.
 *
 * @module
 */

/** A place in the text, both counted from 1. */
export interface Position {
  /** Line number. */
  readonly line: number;
  /** Column number, in UTF-16 units. */
  readonly column: number;
}

/** Deepest nesting of flow collections that is followed. */
const DEPTH_MAX = 64;

/**
 * Finds the places of all keys and list items.
 *
 * @param text A YAML document that parses.
 * @returns Places by path, such as `publish[0].host`.
 */
export function yamlPositions(text: string): Map<string, Position> {
  return new Scanner(text).scan();
}

/** One open block collection. */
interface Frame {
  readonly indent: number;
  /** Path of the collection itself. */
  readonly base: string;
  /** Path of the entry that is being read. */
  current: string;
  /** Number of the last item of a list; -1 for a mapping. */
  index: number;
}

class Scanner {
  readonly #text: string;
  readonly #positions = new Map<string, Position>();
  readonly #frames: Frame[] = [];
  #at = 0;
  #line = 1;
  #lineStart = 0;

  constructor(text: string) {
    this.#text = text;
  }

  scan(): Map<string, Position> {
    while (this.#at < this.#text.length) {
      this.#scanLine();
      this.#skipLine();
    }
    return this.#positions;
  }

  /** Reads what begins on this line: list marks, then a key, then a value. */
  #scanLine(): void {
    this.#skipSpaces();
    const marker = /(?:---|\.\.\.)(?=\s|$)/y;
    marker.lastIndex = this.#at;
    if (this.#column() === 0 && marker.test(this.#text)) return;
    while (this.#peek() === "-" && /[\s]|^$/.test(this.#peek(1))) {
      this.#openItem(this.#column());
      this.#at++;
      this.#skipSpaces();
    }
    const indent = this.#column();
    const start = this.#at;
    const key = this.#readKey(/:(?=\s|$)/y, /:\s|:$|\s#/);
    if (key !== null) this.#openKey(indent, key, start);
    const path = this.#frames.at(-1)?.current ?? "";
    this.#skipProperties();
    const first = this.#peek();
    if (first === "|" || first === ">") this.#skipBlockScalar(this.#frames.at(-1)?.indent ?? -1);
    else if (first === "{" || first === "[") this.#scanFlow(path, 0);
    else if (first === '"' || first === "'") this.#readQuoted();
  }

  #openItem(indent: number): void {
    const frames = this.#frames;
    while (frames.length > 0 && frames.at(-1)!.indent > indent) frames.pop();
    let frame = frames.at(-1);
    if (frame === undefined || frame.indent !== indent || frame.index < 0) {
      const base = frame?.current ?? "";
      frame = { indent, base, current: base, index: -1 };
      frames.push(frame);
    }
    frame.index++;
    frame.current = `${frame.base}[${frame.index}]`;
    this.#record(frame.current, this.#at);
  }

  #openKey(indent: number, key: string, start: number): void {
    const frames = this.#frames;
    while (
      frames.length > 0 &&
      (frames.at(-1)!.indent > indent ||
        (frames.at(-1)!.indent === indent && frames.at(-1)!.index >= 0))
    ) frames.pop();
    let frame = frames.at(-1);
    if (frame === undefined || frame.indent !== indent) {
      const base = frame?.current ?? "";
      frame = { indent, base, current: base, index: -1 };
      frames.push(frame);
    }
    frame.current = join(frame.base, key);
    this.#record(frame.current, start);
  }

  /** Walks a flow collection, which may span lines, to behind its closing bracket. */
  #scanFlow(path: string, depth: number): void {
    const isMap = this.#peek() === "{";
    const close = isMap ? "}" : "]";
    this.#at++;
    for (let index = 0; this.#at < this.#text.length && depth < DEPTH_MAX;) {
      this.#skipBlank();
      const next = this.#peek();
      if (next === close) {
        this.#at++;
        return;
      }
      if (next === ",") {
        this.#at++;
        continue;
      }
      const before = this.#at;
      let entry = `${path}[${index++}]`;
      if (isMap) {
        const key = this.#readKey(/\s*:/y, /:(?=[\s,{}[\]]|$)|[,{}[\]]|\s#/) ?? "";
        entry = join(path, key);
      }
      this.#record(entry, before);
      this.#skipBlank();
      this.#scanFlowValue(entry, depth + 1);
      if (this.#at === before) this.#at++; // a place that is not understood
    }
  }

  #scanFlowValue(path: string, depth: number): void {
    this.#skipProperties();
    const first = this.#peek();
    if (first === "{" || first === "[") return this.#scanFlow(path, depth);
    if (first === '"' || first === "'") {
      this.#readQuoted();
      return;
    }
    const end = /[,{}[\]\n]|\s#/g;
    end.lastIndex = this.#at;
    this.#at = end.exec(this.#text)?.index ?? this.#text.length;
  }

  /** Reads a key and its colon; where none stands here, nothing is read. */
  #readKey(colon: RegExp, plainEnd: RegExp): string | null {
    const start = this.#at;
    let key: string | null = null;
    if (this.#peek() === '"' || this.#peek() === "'") {
      key = this.#readQuoted();
    } else if (!/[#&*!|>{}[\]]/.test(this.#peek())) {
      const eol = this.#text.indexOf("\n", start);
      const line = this.#text.slice(start, eol < 0 ? undefined : eol);
      const end = line.search(plainEnd);
      if (end > 0) {
        key = line.slice(0, end).trimEnd();
        this.#at = start + end;
      }
    }
    colon.lastIndex = this.#at;
    const match = key === null ? null : colon.exec(this.#text);
    this.#at = match === null ? start : colon.lastIndex;
    return match === null ? null : key;
  }

  /** Reads a quoted scalar, which may span lines; escapes stay as they are but for `\"` and `''`. */
  #readQuoted(): string {
    const quote = this.#text[this.#at++]!;
    let value = "";
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at++]!;
      if (char === "\n") this.#newLine();
      if (char === quote) {
        if (quote === '"' || this.#peek() !== "'") break;
        this.#at++;
      } else if (char === "\\" && quote === '"') {
        if (this.#peek() === "\n") continue;
        value += this.#text[this.#at++] ?? "";
        continue;
      }
      value += char;
    }
    return value;
  }

  /** Skips the lines of a block scalar: all that are indented deeper than what it belongs to. */
  #skipBlockScalar(indent: number): void {
    for (;;) {
      const eol = this.#text.indexOf("\n", this.#at);
      if (eol < 0) return;
      const line = /[^\n]*/y;
      line.lastIndex = eol + 1;
      const next = line.exec(this.#text)?.[0] ?? "";
      if (next.trim() !== "" && next.search(/[^ ]/) <= indent) return;
      if (eol + 1 >= this.#text.length) return;
      this.#at = eol + 1;
      this.#newLine();
    }
  }

  /** Skips spaces, anchors and tags before a value. */
  #skipProperties(): void {
    const properties = /(?:[ \t]*[&!][^\s,{}[\]]*)*[ \t]*/y;
    properties.lastIndex = this.#at;
    properties.exec(this.#text);
    this.#at = properties.lastIndex;
  }

  #skipSpaces(): void {
    while (this.#peek() === " " || this.#peek() === "\t") this.#at++;
  }

  /** Skips spaces, line ends and comments inside a flow collection. */
  #skipBlank(): void {
    for (;;) {
      const char = this.#peek();
      if (char === "#") {
        const eol = this.#text.indexOf("\n", this.#at);
        this.#at = eol < 0 ? this.#text.length : eol;
      } else if (char === "\n") {
        this.#at++;
        this.#newLine();
      } else if (char === " " || char === "\t" || char === "\r") {
        this.#at++;
      } else {
        return;
      }
    }
  }

  #skipLine(): void {
    const eol = this.#text.indexOf("\n", this.#at);
    this.#at = eol < 0 ? this.#text.length : eol + 1;
    if (eol >= 0) this.#newLine();
  }

  /** Notes that the cursor stands at the beginning of the next line. */
  #newLine(): void {
    this.#line++;
    this.#lineStart = this.#at;
  }

  #record(path: string, at: number): void {
    if (this.#positions.has(path)) return;
    this.#positions.set(path, { line: this.#line, column: at - this.#lineStart + 1 });
  }

  #column(): number {
    return this.#at - this.#lineStart;
  }

  #peek(ahead = 0): string {
    return this.#text[this.#at + ahead] ?? "";
  }
}

function join(base: string, key: string): string {
  return base === "" ? key : `${base}.${key}`;
}
