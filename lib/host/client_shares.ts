/**
 * Which flow makes way where clients of published ports have all the places that there are for them.
 *
 * Who is flooded by many must not pay for it: the place comes from whoever has the most, which is a
 * client's address at one published port, and of its flows the least recently used one without an
 * answer, else the least recently used. Among owners with equally many, one with a flow that has no
 * answer gives way first. So a flood, also one from invented addresses, ends flows of its own or
 * flows that nobody answered.
 *
 * Every step costs the same however many flows there are.
 *
 * @module
 */

/** Flows of one owner. */
export class ClientShare<T> {
  readonly key: string;
  /** Flows without an answer, the least recently used first. */
  readonly unanswered = new Set<T>();
  /** The others, in the same order. */
  readonly answered = new Set<T>();

  constructor(key: string) {
    this.key = key;
  }

  /** How many flows there are. */
  get size(): number {
    return this.unanswered.size + this.answered.size;
  }
}

/** The flows of all owners. */
export class ClientShares<T> {
  readonly #shares = new Map<string, ClientShare<T>>();
  /** Owners by what they have: two lists for each number of flows, see `rankOf`. */
  readonly #ranks: Set<ClientShare<T>>[] = [];
  #highest = 0;

  /** How many owners there are. */
  get owners(): number {
    return this.#shares.size;
  }

  /** Adds a flow without an answer; what is given back stands for its owner from then on. */
  add(key: string, flow: T): ClientShare<T> {
    let share = this.#shares.get(key);
    if (share === undefined) this.#shares.set(key, share = new ClientShare(key));
    this.#change(share, () => share.unanswered.add(flow));
    return share;
  }

  /** A datagram of a flow has passed; `isAnswer` says that it was one of the guest's. */
  use(share: ClientShare<T>, flow: T, isAnswer: boolean): void {
    if (isAnswer && share.unanswered.has(flow)) {
      this.#change(share, () => {
        share.unanswered.delete(flow);
        share.answered.add(flow);
      });
      return;
    }
    const flows = share.answered.has(flow) ? share.answered : share.unanswered;
    if (flows.size === 1) return;
    flows.delete(flow);
    flows.add(flow);
  }

  /** Takes a flow out. */
  remove(share: ClientShare<T>, flow: T): void {
    this.#change(share, () => {
      if (!share.unanswered.delete(flow)) share.answered.delete(flow);
    });
    if (share.size === 0) this.#shares.delete(share.key);
  }

  /** The flow that makes way next; `null` where there is none. */
  victim(): T | null {
    const [share] = this.#ranks[this.#highest] ?? [];
    if (share === undefined) return null;
    const [flow] = share.unanswered.size > 0 ? share.unanswered : share.answered;
    return flow ?? null;
  }

  /** Moves an owner to where it belongs after a change of what it has. */
  #change(share: ClientShare<T>, change: () => void): void {
    this.#ranks[rankOf(share)]?.delete(share);
    change();
    const rank = rankOf(share);
    if (share.size > 0) {
      while (this.#ranks.length <= rank) this.#ranks.push(new Set());
      this.#ranks[rank]!.add(share);
      if (rank > this.#highest) this.#highest = rank;
    }
    while (this.#highest > 0 && this.#ranks[this.#highest]!.size === 0) this.#highest--;
  }
}

/** More flows first; among equally many, those with one that has no answer. */
function rankOf<T>(share: ClientShare<T>): number {
  return 2 * share.size + Number(share.unanswered.size > 0);
}
