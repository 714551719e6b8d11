/**
 * The inputs of `fixtures/fuzz/TARGET/`: those that the corpus was begun with, and those that once
 * broke something.
 *
 * @module
 */
import { formatInput, type Input, nameOf, parseInput } from "./input.ts";
import type { FuzzTarget } from "./target.ts";

const ROOT = new URL("../../fixtures/fuzz/", import.meta.url);

/** An input with the name of its file. */
export interface CorpusFile {
  readonly path: string;
  readonly input: Input;
}

/** All inputs of a target, by the order of their names. */
export function readCorpus(target: FuzzTarget): CorpusFile[] {
  const folder = new URL(`${target.name}/`, ROOT);
  const names: string[] = [];
  for (const { name } of Deno.readDirSync(folder)) {
    if (name.endsWith(`.${target.form}`)) names.push(name);
  }
  return names.sort().map((name) => ({
    path: `fixtures/fuzz/${target.name}/${name}`,
    input: parseInput(target.form, Deno.readTextFileSync(new URL(name, folder))),
  }));
}

/** Reads one file by its path from the project's root. */
export function readInput(target: FuzzTarget, path: string): Input {
  const text = Deno.readTextFileSync(new URL(`../../${path}`, import.meta.url));
  return parseInput(target.form, text);
}

/** Keeps an input that broke its target: the path from the project's root. */
export function writeCrash(target: FuzzTarget, input: Input, comment: string): string {
  return write(target, `crash-${nameOf(input)}`, input, comment);
}

/** Writes the inputs that the corpus is begun with. */
export function writeSeeds(target: FuzzTarget): number {
  let count = 0;
  for (const [name, input] of target.seeds()) {
    write(target, name, input, "");
    count++;
  }
  return count;
}

function write(target: FuzzTarget, name: string, input: Input, comment: string): string {
  const folder = new URL(`${target.name}/`, ROOT);
  Deno.mkdirSync(folder, { recursive: true });
  const file = `${name}.${target.form}`;
  Deno.writeTextFileSync(new URL(file, folder), formatInput(target.form, input, comment));
  return `fixtures/fuzz/${target.name}/${file}`;
}
