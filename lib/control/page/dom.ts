/**
 * The page's elements: found by their ids, made with text and nothing else, and lists that keep the
 * element of an item, so that a refresh takes neither focus nor selection from it.
 *
 * @module
 */
/// <reference lib="dom" />

/** The element of the page with an id. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** Makes an element of a class, with text or with others in it. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...content: readonly (string | Node)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  element.append(...content);
  return element;
}

/** Makes a button, with what it does and, where its word is not enough, its whole name. */
export function button(
  word: string,
  { name, className = "small", run }: {
    readonly name?: string;
    readonly className?: string;
    readonly run: () => void;
  },
): HTMLButtonElement {
  const element = make("button", className, word);
  element.type = "button";
  if (name !== undefined) element.setAttribute("aria-label", name);
  element.addEventListener("click", run);
  return element;
}

/** Sets a text where it is another one. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Items of a list and how each becomes an element. */
export interface Keyed<T, E extends Element> {
  /** What no two items have in common. */
  readonly key: (item: T) => string;
  readonly make: (item: T) => E;
  readonly update?: (element: E, item: T) => void;
}

/** A list whose elements last as long as their items. */
export class KeyedList<T, E extends HTMLElement> {
  readonly #parent: HTMLElement;
  readonly #how: Keyed<T, E>;
  #elements = new Map<string, E>();

  /** Fills an element. */
  constructor(parent: HTMLElement, how: Keyed<T, E>) {
    this.#parent = parent;
    this.#how = how;
  }

  /** Shows these items in this order. */
  show(items: readonly T[]): void {
    const focused = document.activeElement;
    const kept = new Map<string, E>();
    for (const item of items) {
      const key = this.#how.key(item);
      const element = this.#elements.get(key) ?? this.#how.make(item);
      this.#how.update?.(element, item);
      kept.set(key, element);
    }
    for (const [key, element] of this.#elements) if (!kept.has(key)) element.remove();
    this.#elements = kept;
    let at = this.#parent.firstElementChild;
    for (const element of kept.values()) {
      if (element === at) at = at.nextElementSibling;
      else this.#parent.insertBefore(element, at);
    }
    // An element that is moved loses the focus.
    if (focused instanceof HTMLElement && focused !== document.activeElement) {
      if (focused.isConnected) focused.focus({ preventScroll: true });
      else this.#parent.closest("section")?.focus({ preventScroll: true });
    }
  }
}

/** Shows names and values as the pairs of a `dl`. */
export function showPairs(list: HTMLElement, pairs: readonly (readonly [string, string])[]): void {
  const have = list.children;
  for (const [i, [name, value]] of pairs.entries()) {
    if (have[i] === undefined) list.append(make("div", "", make("dt", ""), make("dd", "")));
    setText(have[i]!.children[0]!, name);
    setText(have[i]!.children[1]!, value);
  }
  while (have.length > pairs.length) have[have.length - 1]!.remove();
}
