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

/** CPU seconds of the threads that live, to the nanosecond: for what hardly does anything. */
export async function fineCpuSeconds(pid: number): Promise<number> {
  const stats = await ofTree(pid, "cat /proc/$p/task/*/schedstat 2>/dev/null");
  return stats.split("\n").reduce((sum, line) => sum + Number(line.split(" ")[0]), 0) / 1e9;
}

/** The highest resident memory of each process so far, added up. */
export async function peakMemoryMib(pid: number): Promise<number> {
  const lines = await ofTree(pid, "grep '^VmHWM:' /proc/$p/status 2>/dev/null");
  return lines.split("\n").reduce((sum, line) => sum + Number(/\d+/.exec(line)?.[0] ?? 0), 0) /
    1024;
}
