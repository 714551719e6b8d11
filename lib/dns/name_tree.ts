/**
 * The names of one message as nodes of a tree, the root's on top: two names are equal exactly when
 * they are the same node.
 *
 *     "" ─┬─ example ─┬─ a ─── www
 *         │           └─ b
 *         └─ test
 *
 * Each label of the message is read once, however many names come to it by a pointer. So to read
 * all names of a message costs what the message is long, where to read each in full could cost
 * twenty times as much: one record of a few octets can end in a name of 255.
 *
 * @module
 */
import { labelText, NAME_MAX_BYTES, nameOctets } from "./name.ts";

/** A name. */
export interface NameNode {
  /** The name without its first label; `null` for the root. */
  readonly parent: NameNode | null;
  /** Its first label as text, see name.ts; empty for the root. */
  readonly label: string;
  /** Its octets when it stands in full. */
  readonly bytes: number;
  /** Which node of its tree it is. */
  readonly index: number;
}

/** The names of a message. */
export class NameTree {
  /** The root's name. */
  readonly root: NameNode = { parent: null, label: "", bytes: 1, index: 0 };
  readonly #message: Uint8Array;
  readonly #children = new Map<string, NameNode>();
  /** The names that begin at offsets of the message. */
  readonly #byOffset = new Map<number, NameNode>();

  /** @param message The message; it stays as it is. */
  constructor(message: Uint8Array) {
    this.#message = message;
  }

  /**
   * The name that stands somewhere in the message.
   *
   * @param start Where it begins; `nameEnd` has taken it.
   */
  at(start: number): NameNode {
    const message = this.#message;
    const labelsAt: number[] = [];
    let node: NameNode = this.root;
    let at = start;
    for (let length = message[at]!; length !== 0; length = message[at]!) {
      if (length >= 0xc0) {
        at = ((length & 0x3f) << 8) | message[at + 1]!;
        continue;
      }
      const known = this.#byOffset.get(at);
      if (known !== undefined) {
        node = known;
        break;
      }
      labelsAt.push(at);
      at += 1 + length;
    }
    for (let labelAt = labelsAt.pop(); labelAt !== undefined; labelAt = labelsAt.pop()) {
      node = this.#childAt(node, message, labelAt);
      this.#byOffset.set(labelAt, node);
    }
    return node;
  }

  /**
   * A name from elsewhere.
   *
   * @param text The name as `readName` gives it.
   * @returns `null` where it is no name.
   */
  of(text: string): NameNode | null {
    const octets = nameOctets(text);
    if (octets === null) return null;
    const labelsAt: number[] = [];
    for (let at = 0; octets[at] !== 0; at += 1 + octets[at]!) labelsAt.push(at);
    return labelsAt.reduceRight((node, at) => this.#childAt(node, octets, at), this.root);
  }

  /**
   * A name whose end is put in another's place, as DNAME does (RFC 6672 section 2.2).
   *
   * @param name The name.
   * @param end What it ends in: a node above it.
   * @param instead What it is to end in.
   * @returns `null` where the name would be too long.
   */
  moved(name: NameNode, end: NameNode, instead: NameNode): NameNode | null {
    if (name.bytes - end.bytes + instead.bytes > NAME_MAX_BYTES) return null;
    const moving: NameNode[] = [];
    for (let at = name; at !== end; at = at.parent!) moving.push(at);
    return moving.reduceRight(
      (node, { label, bytes, parent }) => this.#child(node, label, bytes - parent!.bytes),
      instead,
    );
  }

  #childAt(parent: NameNode, octets: Uint8Array, at: number): NameNode {
    const length = octets[at]!;
    return this.#child(parent, labelText(octets, at + 1, length), 1 + length);
  }

  #child(parent: NameNode, label: string, labelBytes: number): NameNode {
    // A label's text has no blank in it.
    const key = `${parent.index} ${label}`;
    const known = this.#children.get(key);
    if (known !== undefined) return known;
    const bytes = parent.bytes + labelBytes;
    const child: NameNode = { parent, label, bytes, index: this.#children.size + 1 };
    this.#children.set(key, child);
    return child;
  }
}

/** A name as text, see name.ts. */
export function textOf(name: NameNode): string {
  const labels: string[] = [];
  for (let at = name; at.parent !== null; at = at.parent) labels.push(at.label);
  return labels.join(".");
}
