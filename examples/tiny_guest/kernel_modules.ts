/**
 * In which order kernel modules are loaded: each names those that it needs in its own file, so the
 * index that depmod makes at an installation is not wanted.
 *
 * @module
 */

/**
 * Reads which modules a module needs.
 *
 * @param module The module's file.
 * @returns Their names.
 */
export function neededModules(module: Uint8Array): string[] {
  const text = new TextDecoder("latin1").decode(module);
  const [, names = ""] = /\0depends=([\w,-]*)\0/.exec(text) ?? [];
  return names.split(",").filter((name) => name !== "").map(moduleName);
}

/** A module's name is spelled with underscores, its file also with hyphens. */
export function moduleName(name: string): string {
  return name.replaceAll("-", "_");
}

/**
 * Puts modules into the order in which they can be loaded.
 *
 * @param wanted Names of the modules that are wanted.
 * @param needs Which modules each of them needs.
 * @returns The names of these and of all that they need, each after what it needs.
 */
export async function loadOrder(
  wanted: readonly string[],
  needs: (name: string) => Promise<readonly string[]>,
): Promise<string[]> {
  const ordered = new Set<string>();
  const visit = async (name: string, above: readonly string[]): Promise<void> => {
    if (ordered.has(name)) return;
    if (above.includes(name)) throw new Error(`modules need each other: ${[...above, name]}`);
    for (const needed of await needs(name)) await visit(needed, [...above, name]);
    ordered.add(name);
  };
  for (const name of wanted) await visit(name, []);
  return [...ordered];
}
