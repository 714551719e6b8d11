/**
 * A guest's place in a shared network, as its own network uses it: who the others are, the rings to
 * and from them, and how to wake and be woken. `lan_hub.ts` hands one out.
 *
 * @module
 */
import type { LanMember } from "../config/lan_member.ts";
import type { LanRings } from "../stack/lan_rings.ts";

/** What a guest's network is given of the shared network that it is in. */
export interface LanAttachment {
  /** All members; a member's position is its number. */
  readonly members: readonly LanMember[];
  /** The guest's own number. */
  readonly self: number;
  /** Frames between members. */
  readonly rings: LanRings;
  /** Tells whoever serves a member that frames wait for it. */
  wake(member: number): void;
  /**
   * The guest is there, and `onFrames` is called when frames wait for it, never from inside of `wake`;
   * `null` at its end, for good.
   */
  listen(onFrames: (() => void) | null): void;
  /** Whether a member's guest is attached: else nobody takes frames for it. */
  isAttached(member: number): boolean;
}
