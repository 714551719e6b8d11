/**
 * Reassembly as one would write it on paper: a list of pieces for each datagram, octets compared
 * one by one, no bitmaps, no slots. What the rules are is said in `lib/stack/reassembly.ts`.
 *
 * @module
 */
import { FUZZ_LIMITS } from "./rig.ts";

/** One fragment as the model sees it. */
export interface Piece {
  readonly family: 4 | 6;
  /** Which datagram of the family it says that it belongs to, protocol aside. */
  readonly set: string;
  readonly protocol: number;
  readonly offset: number;
  readonly last: boolean;
  readonly data: Uint8Array;
  /** Octets of the header in front, and of those the ones that count for the largest packet. */
  readonly headerBytes: number;
  readonly countedBytes: number;
}

/** What the model counts, by the names of the stack's counters. */
export type FragmentCounter =
  | "drop.ip.hdr"
  | "drop.frag.overlap"
  | "drop.frag.big"
  | "drop.frag.tiny"
  | "drop.frag.limit"
  | "drop.frag.timeout";

interface Datagram {
  pieces: Piece[];
  spoiled: boolean;
  total: number;
  deadlineMs: number;
}

const TCP = 6;
const PACKET_MAX_BYTES = 65_535;
const L4_BYTES: Readonly<Record<number, number>> = { [TCP]: 20, 17: 8 };

/** All datagrams on their way, the oldest first. */
export class FragmentModel {
  readonly counts: Record<FragmentCounter, number> = {
    "drop.ip.hdr": 0,
    "drop.frag.overlap": 0,
    "drop.frag.big": 0,
    "drop.frag.tiny": 0,
    "drop.frag.limit": 0,
    "drop.frag.timeout": 0,
  };
  readonly #datagrams = new Map<string, Datagram>();

  /** Datagrams that are incomplete or spoiled. */
  get sets(): number {
    return this.#datagrams.size;
  }

  /** Octets of those that are incomplete. */
  get heldBytes(): number {
    return [...this.#datagrams.values()].reduce((sum, each) => sum + heldBy(each), 0);
  }

  /** Time passes. */
  advance(nowMs: number): void {
    for (const [key, datagram] of this.#datagrams) {
      if (datagram.deadlineMs > nowMs) continue;
      if (!datagram.spoiled) this.counts["drop.frag.timeout"]++;
      this.#datagrams.delete(key);
    }
  }

  /** Takes a piece; the datagram and its protocol where that completes it. */
  take(piece: Piece, nowMs: number): { protocol: number; data: Uint8Array } | null {
    if (isTiny(piece)) return this.#count("drop.frag.tiny");
    const key = `${piece.family} ${piece.set} ${piece.family === 4 ? piece.protocol : ""}`;
    const datagram = this.#datagrams.get(key) ?? this.#open(key, piece, nowMs);
    if (datagram.spoiled) return null;
    const wrong = this.#wrong(datagram, piece);
    if (wrong === "again") return null;
    if (wrong === null && !this.#makeRoom(datagram, piece.data.length)) {
      return this.#spoil(datagram, "drop.frag.limit");
    }
    if (wrong !== null) return this.#spoil(datagram, wrong);
    datagram.pieces.push(piece);
    if (piece.last) datagram.total = piece.offset + piece.data.length;
    if (heldBy(datagram) !== datagram.total) return null;
    this.#datagrams.delete(key);
    const first = datagram.pieces.find(({ offset }) => offset === 0)!;
    const header = first.family === 4 ? first.headerBytes : first.headerBytes - 40;
    if (header + datagram.total > PACKET_MAX_BYTES) {
      return this.#count("drop.frag.big");
    }
    const data = new Uint8Array(datagram.total);
    for (const each of datagram.pieces) data.set(each.data, each.offset);
    return { protocol: first.protocol, data };
  }

  #open(key: string, piece: Piece, nowMs: number): Datagram {
    if (this.#datagrams.size >= FUZZ_LIMITS.fragmentSets) this.#evict(null);
    const lastMs = piece.family === 4 ? FUZZ_LIMITS.fragmentMs : FUZZ_LIMITS.fragment6Ms;
    const datagram = { pieces: [], spoiled: false, total: -1, deadlineMs: nowMs + lastMs };
    this.#datagrams.set(key, datagram);
    return datagram;
  }

  #wrong(datagram: Datagram, piece: Piece): FragmentCounter | "again" | null {
    const { offset, last, data } = piece;
    const end = offset + data.length;
    const furthest = Math.max(0, ...datagram.pieces.map((each) => each.offset + each.data.length));
    if (data.length === 0 || (!last && data.length % 8 !== 0)) {
      return "drop.ip.hdr";
    }
    if (piece.countedBytes + end > PACKET_MAX_BYTES) return "drop.frag.big";
    const total = datagram.total;
    if (last && (furthest > end || (total >= 0 && total !== end))) {
      return "drop.frag.overlap";
    }
    if (!last && total >= 0 && end >= total) return "drop.frag.overlap";
    const touched = datagram.pieces.filter((each) =>
      each.offset < end && offset < each.offset + each.data.length
    );
    if (touched.length === 0) return null;
    const same = touched.length === 1 && touched[0]!.offset === offset &&
      touched[0]!.data.length === data.length &&
      touched[0]!.data.every((octet, i) => octet === data[i]);
    return same && (!last || total === end) ? "again" : "drop.frag.overlap";
  }

  #makeRoom(datagram: Datagram, bytes: number): boolean {
    while (this.heldBytes + bytes > FUZZ_LIMITS.fragmentBytes) {
      if (!this.#evict(datagram)) return false;
    }
    return true;
  }

  #evict(except: Datagram | null): boolean {
    for (const [key, datagram] of this.#datagrams) {
      if (datagram === except) continue;
      if (!datagram.spoiled) this.counts["drop.frag.limit"]++;
      this.#datagrams.delete(key);
      return true;
    }
    return false;
  }

  #spoil(datagram: Datagram, name: FragmentCounter): null {
    datagram.spoiled = true;
    return this.#count(name);
  }

  #count(name: FragmentCounter): null {
    this.counts[name]++;
    return null;
  }
}

function heldBy({ spoiled, pieces }: Datagram): number {
  return spoiled ? 0 : pieces.reduce((sum, { data }) => sum + data.length, 0);
}

/** RFC 1858, RFC 3128: a first fragment holds the L4 header, and nothing begins inside TCP's. */
function isTiny({ family, protocol, offset, data }: Piece): boolean {
  if (offset === 0) {
    const needed = protocol === TCP && data.length >= 20
      ? (data[12]! >> 4) * 4
      : L4_BYTES[protocol]!;
    return data.length < Math.max(needed, L4_BYTES[protocol]!);
  }
  return family === 4 && offset === 8 && protocol === TCP;
}
