/**
 * One gateway in one directory: two that were given the same by mistake would write over each other's
 * copy of the policy and send each other's audit.
 *
 * The lock is the kernel's, on an open file (flock), so it ends with the process, however that ends;
 * the file itself stays and means nothing. It is made of locks between processes, and where a file
 * system has none, or the file can't be made, there is none.
 *
 * @module
 */
import { GatewayError } from "../config/errors.ts";

const NAME = "lock";

/** Who has the directory. */
export interface DirLock extends Disposable {
  /** Why there is no lock; `null` where there is one. */
  readonly missing: string | null;
}

/**
 * Takes a directory for this gateway.
 *
 * @param dir A directory that is there.
 * @returns What gives it up.
 * @throws {GatewayError} Where another gateway has it.
 */
export async function lockDir(dir: string): Promise<DirLock> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(`${dir}/${NAME}`, {
      read: true,
      write: true,
      create: true,
      mode: 0o600,
    });
  } catch (error) {
    return { missing: (error as Error).message, [Symbol.dispose]: () => {} };
  }
  let locked: boolean;
  try {
    locked = await file.tryLock(true);
  } catch (error) {
    file.close();
    return { missing: (error as Error).message, [Symbol.dispose]: () => {} };
  }
  if (!locked) {
    file.close();
    throw new GatewayError("config", `cannot use ${dir} for the fleet: another gateway does`, {
      hint: "Give each gateway a directory of its own with --fleet-dir DIR",
    });
  }
  return { missing: null, [Symbol.dispose]: () => file.close() };
}
