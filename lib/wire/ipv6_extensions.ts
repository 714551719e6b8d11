/**
 * The chain of IPv6 extension headers (RFC 8200 section 4), walked once, never beyond its end.
 *
 * Known: hop-by-hop and destination options, routing, fragment. Options are judged by the action
 * bits of their type, for no option is understood here (jumbo payload included, whose bits ask for
 * an error). Routing type 0 is refused always (RFC 5095, and RFC 8200 section 4.4 for one with
 * segments left), any other type while segments are left. An atomic fragment (RFC 6946) counts as
 * a whole packet. Anything else, AH and ESP too, is the payload's protocol.
 *
 * Limit: `MAX_EXTENSION_HEADERS` for a packet (RFC 7112, RFC 8883 allow a limit).
 *
 * @module
 */
import { IPV6_HEADER_BYTES, ipv6NextHeader } from "./ipv6.ts";

/** The longest chain that is followed. */
export const MAX_EXTENSION_HEADERS = 8;
/** Octets of a fragment header. */
export const IPV6_FRAGMENT_HEADER_BYTES = 8;

/** Next header values of the extension headers that are walked. */
export const Ipv6Extension = {
  hopByHop: 0,
  routing: 43,
  fragment: 44,
  noNextHeader: 59,
  destination: 60,
} as const;

/** How a walk ended. Where an error is due, `problemAt` is the octet to point at. */
export const Ipv6Walk = {
  /** At a payload: `protocol` and `payloadAt` hold. */
  payload: 0,
  /** At a piece of a datagram: the fragment fields hold; `payloadAt` is the piece's first octet. */
  fragment: 1,
  /** At "no next header": there is no payload. */
  nothing: 2,
  /** A header or an option runs over the end, or an option over its header: drop. */
  overrun: 3,
  /** More than `MAX_EXTENSION_HEADERS`: drop. */
  tooMany: 4,
  /** A second fragment header: drop. */
  nestedFragment: 5,
  /** A routing header that would have to be followed: parameter problem 4/0. */
  routing: 6,
  /** A hop-by-hop header that is not the first: parameter problem 4/1. */
  misplaced: 7,
  /** An option with action 01: drop. */
  optionDrop: 8,
  /** An option with action 10: parameter problem 4/2, whatever the destination. */
  optionProblem: 9,
  /** An option with action 11: parameter problem 4/2 unless the destination is multicast. */
  optionProblemUnicast: 10,
} as const;
/** One of `Ipv6Walk`. */
export type Ipv6Walk = typeof Ipv6Walk[keyof typeof Ipv6Walk];

/** What a walk found; one object is used again for every packet. */
export class Ipv6Extensions {
  /** Protocol of the payload, or of the fragmentable part's first header. */
  protocol = 0;
  /** Position of the payload, or of the fragment's octets. */
  payloadAt = 0;
  /** Headers walked. */
  headers = 0;
  /** Position of the octet that named `protocol`, for errors about it. */
  protocolAt = 0;
  /** Position of the fragment header; -1 where there is none. */
  fragmentAt: number = -1;
  /** Position of the octet that named the fragment header. */
  fragmentNamedAt: number = -1;
  /** Offset of the fragment in the fragmentable part, in bytes: 0 to 65,528. */
  fragmentOffsetBytes = 0;
  /** Whether fragments follow. */
  moreFragments = false;
  /** The identification that a packet's fragments share. */
  identification = 0;
  /** Position of the octet that an ICMPv6 error points at. */
  problemAt = 0;
}

/** Walks the chain behind the fixed header at `at`; `end` is where the packet's octets end. */
export function walkIpv6Extensions(
  view: DataView,
  at: number,
  end: number,
  into: Ipv6Extensions,
): Ipv6Walk {
  into.headers = 0;
  into.fragmentAt = -1;
  into.fragmentNamedAt = -1;
  into.fragmentOffsetBytes = 0;
  into.moreFragments = false;
  into.identification = 0;
  into.problemAt = at;
  return walk(view, ipv6NextHeader(view, at), at + 6, at + IPV6_HEADER_BYTES, end, false, into);
}

/**
 * Walks on inside a fragmentable part: the first piece, to see whether it holds all headers
 * (RFC 7112), or the whole after reassembly. `headersBefore` counts against the same limit;
 * `protocolAt` is the octet that named `protocol`. A fragment header here is a nested one. The
 * fragment fields of `into` are left alone.
 */
export function walkFragmentablePart(
  view: DataView,
  protocol: number,
  protocolAt: number,
  at: number,
  end: number,
  headersBefore: number,
  into: Ipv6Extensions,
): Ipv6Walk {
  into.headers = headersBefore;
  into.problemAt = at;
  return walk(view, protocol, protocolAt, at, end, true, into);
}

function walk(
  view: DataView,
  next: number,
  namedAt: number,
  at: number,
  end: number,
  insideFragment: boolean,
  into: Ipv6Extensions,
): Ipv6Walk {
  for (;;) {
    into.protocol = next;
    into.protocolAt = namedAt;
    into.payloadAt = at;
    if (!isExtension(next)) {
      return next === Ipv6Extension.noNextHeader ? Ipv6Walk.nothing : Ipv6Walk.payload;
    }
    if (next === Ipv6Extension.hopByHop && into.headers > 0) {
      into.problemAt = namedAt;
      return Ipv6Walk.misplaced;
    }
    if (into.headers === MAX_EXTENSION_HEADERS) return Ipv6Walk.tooMany;
    into.headers++;
    if (at + 8 > end) return Ipv6Walk.overrun;
    if (next === Ipv6Extension.fragment) {
      if (insideFragment) return Ipv6Walk.nestedFragment;
      insideFragment = true;
      takeFragment(view, namedAt, at, into);
      if (into.fragmentOffsetBytes !== 0 || into.moreFragments) {
        into.protocol = view.getUint8(at);
        into.protocolAt = at;
        into.payloadAt = at + IPV6_FRAGMENT_HEADER_BYTES;
        return Ipv6Walk.fragment;
      }
      next = view.getUint8(at);
      namedAt = at;
      at += IPV6_FRAGMENT_HEADER_BYTES;
      continue;
    }
    const bytes = (view.getUint8(at + 1) + 1) << 3;
    if (at + bytes > end) return Ipv6Walk.overrun;
    const outcome = next === Ipv6Extension.routing
      ? judgeRouting(view, at, into)
      : judgeOptions(view, at + 2, at + bytes, into);
    if (outcome !== Ipv6Walk.payload) return outcome;
    next = view.getUint8(at);
    namedAt = at;
    at += bytes;
  }
}

function isExtension(next: number): boolean {
  return next === Ipv6Extension.hopByHop || next === Ipv6Extension.destination ||
    next === Ipv6Extension.routing || next === Ipv6Extension.fragment;
}

function takeFragment(view: DataView, namedAt: number, at: number, into: Ipv6Extensions): void {
  const word = view.getUint16(at + 2);
  into.fragmentAt = at;
  into.fragmentNamedAt = namedAt;
  into.fragmentOffsetBytes = word & 0xfff8;
  into.moreFragments = (word & 1) !== 0;
  into.identification = view.getUint32(at + 4);
}

/** `payload` means "go on". */
function judgeRouting(view: DataView, at: number, into: Ipv6Extensions): Ipv6Walk {
  const type = view.getUint8(at + 2);
  const segmentsLeft = view.getUint8(at + 3);
  if (type !== 0 && segmentsLeft === 0) return Ipv6Walk.payload;
  into.problemAt = at + 2;
  return Ipv6Walk.routing;
}

/** The options between `at` and `end` by RFC 8200 section 4.2; `payload` means "go on". */
function judgeOptions(view: DataView, at: number, end: number, into: Ipv6Extensions): Ipv6Walk {
  while (at < end) {
    const type = view.getUint8(at);
    if (type === 0) { // Pad1 alone has no length
      at++;
      continue;
    }
    if (at + 2 > end) return Ipv6Walk.overrun;
    const next = at + 2 + view.getUint8(at + 1);
    if (next > end) return Ipv6Walk.overrun;
    const action = type >> 6;
    if (action !== 0) {
      into.problemAt = at;
      if (action === 1) return Ipv6Walk.optionDrop;
      return action === 2 ? Ipv6Walk.optionProblem : Ipv6Walk.optionProblemUnicast;
    }
    at = next;
  }
  return Ipv6Walk.payload;
}
