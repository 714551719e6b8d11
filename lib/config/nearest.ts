/**
 * The nearest known name to a mistyped one: edit distance with neighbouring letters swapped
 * (optimal string alignment), at most a third of the name's length.
 *
 * @module
 */

/** Longest name that is compared; a longer one has no neighbour. */
const NAME_MAX = 64;

/**
 * Finds what was probably meant.
 *
 * @param name The mistyped name.
 * @param known The names that exist.
 * @returns The nearest one, or `null` where none is near.
 */
export function nearestName(name: string, known: Iterable<string>): string | null {
  if (name.length > NAME_MAX) return null;
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** `; did you mean X?`, or nothing where no known name is near. */
export function didYouMean(
  name: string,
  known: Iterable<string>,
  show: (name: string) => string = (each) => `"${each}"`,
): string {
  const near = nearestName(name, known);
  return near === null ? "" : `; did you mean ${show(near)}?`;
}

function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, before[j - 2]! + 1);
      }
      row.push(least);
    }
    before = above;
    above = row;
  }
  return above[b.length]!;
}

/** Whether a key is what YAML makes of a mapping, or a list of some, where a key should stand. */
export function isMappingKey(name: string): boolean {
  return name.includes("[object Object]"); // also as part of a list
}

/** What is wrong with a key that is not one of `known`; `where` names its section, or is empty. */
export function unknownKey(name: string, known: Iterable<string>, where: string = ""): string {
  if (isMappingKey(name)) return `a mapping is no key${where}: keys are plain names`;
  return `unknown key "${name}"${where}${didYouMean(name, known)}`;
}
