/**
 * What a gateway costs: CPU time and memory of its process with all that it started, from `/proc`.
 *
 * Deno itself would want every permission to look there, so a shell does.
 *
 * @module
 */
import { mustRun } from "../tests/guest/program.ts";

/** The processes of a tree, one a line. */
const WALK = `walk() { echo $1; for c in $(cat /proc/$1/task/*/children 2>/dev/null); do
  walk $c; done; }`;
const TICKS_PER_SECOND = 100; // USER_HZ, of every Linux that Deno runs on

async function ofTree(pid: number, each: string): Promise<string> {
  return await mustRun(["sh", "-c", `${WALK}; for p in $(walk ${pid}); do ${each}; done; true`]);
}

/** CPU seconds so far, of threads that have ended too; in steps of 10 ms. */
export async function cpuSeconds(pid: number): Promise<number> {
  const stats = await ofTree(pid, "cat /proc/$p/stat 2>/dev/null");
  let ticks = 0;
  for (const line of stats.split("\n")) {
    // The name may hold spaces; the third field is the first one after it.
    const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Nanoseconds of CPU time of each thread that lives, by its number. */
export type ThreadTimes = ReadonlyMap<string, number>;

/** To the nanosecond, for what hardly does anything. */
export async function threadTimes(pid: number): Promise<ThreadTimes> {
  const print =
    'for t in /proc/$p/task/*; do echo "${t##*/} $(cat $t/schedstat)"; done 2>/dev/null';
  const lines = (await ofTree(pid, print)).split("\n");
  return new Map(lines.map((line) => line.split(" ")).map(([tid, ns]) => [tid!, Number(ns)]));
}

/** CPU seconds between two looks; what a thread used that has ended meanwhile is not known. */
export function usedSeconds(before: ThreadTimes, after: ThreadTimes): number {
  let ns = 0;
  for (const [tid, time] of after) ns += time - (before.get(tid) ?? 0);
  return ns / 1e9;
}

/** The highest resident memory of each process so far, added up. */
export async function peakMemoryMib(pid: number): Promise<number> {
  const lines = await ofTree(pid, "grep '^VmHWM:' /proc/$p/status 2>/dev/null");
  return lines.split("\n").reduce((sum, line) => sum + Number(/\d+/.exec(line)?.[0] ?? 0), 0) /
    1024;
}
