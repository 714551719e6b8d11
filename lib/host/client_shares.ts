/**
 * Which flow makes way where clients of published ports have all the places that there are for them.
 *
 * Who is flooded by many must not pay for it: as long as any flow has no answer, the place comes from
 * whoever has the most of such flows, which is a client's address at one published port, and it is the
 * least recently used of them. Only where all are answered it comes from whoever has the most. So a
 * flood, also one from invented addresses, ends flows that nobody answered.
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
  readonly #unanswered = new Ranks<ClientShare<T>>();
  readonly #answered = new Ranks<ClientShare<T>>();

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
    const flows = this.#unanswered.first?.unanswered ?? this.#answered.first?.answered;
    const [flow] = flows ?? [];
    return flow ?? null;
  }

  /** Moves an owner to where it belongs after a change of what it has. */
  #change(share: ClientShare<T>, change: () => void): void {
    const { size: unanswered } = share.unanswered;
    const { size: answered } = share.answered;
    change();
    this.#unanswered.move(share, unanswered, share.unanswered.size);
    this.#answered.move(share, answered, share.answered.size);
  }
}

/** Owners by how many flows of a kind they have. */
class Ranks<T> {
  /** Those with so many; nobody is kept with none. */
  readonly #ranks: Set<T>[] = [];
  #highest = 0;

  /** One of those with the most; the first that came there. */
  get first(): T | undefined {
    const [first] = this.#ranks[this.#highest] ?? [];
    return first;
  }

  /** Takes note of a change from so many to so many. */
  move(owner: T, from: number, to: number): void {
    if (from === to) return;
    if (from > 0) this.#ranks[from]!.delete(owner);
    if (to > 0) {
      while (this.#ranks.length <= to) this.#ranks.push(new Set());
      this.#ranks[to]!.add(owner);
      if (to > this.#highest) this.#highest = to;
    }
    while (this.#highest > 0 && this.#ranks[this.#highest]!.size === 0) this.#highest--;
  }
}
