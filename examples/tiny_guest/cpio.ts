/**
 * The archive that Linux unpacks into memory at boot: cpio in its "newc" form, as
 * `Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel describes it.
 *
 * @module
 */

/** One entry: a folder, a file, a symbolic link (its target is the content) or a device. */
export interface CpioEntry {
  /** Path from the root, without a slash in front. */
  readonly path: string;
  /** Type and permissions, as `stat` has them: `0o100755` is a program. */
  readonly mode: number;
  /** What is in it; nothing where absent. */
  readonly content?: Uint8Array;
  /** Major and minor number of a device. */
  readonly device?: readonly [major: number, minor: number];
}

const TRAILER: CpioEntry = { path: "TRAILER!!!", mode: 0 };

/** Zeros up to the next multiple of four. */
function padding(size: number): Uint8Array {
  return new Uint8Array(-size & 3);
}

/** Magic, then thirteen fields of eight hexadecimal digits. */
function header(entry: CpioEntry, inode: number, nameBytes: number): string {
  const { mode, content, device: [major, minor] = [0, 0] } = entry;
  const [links, owner, group, mtime, hostMajor, hostMinor, checksum] = [1, 0, 0, 0, 0, 0, 0];
  const fields = [
    ...[inode, mode, owner, group, links, mtime, content?.length ?? 0],
    ...[hostMajor, hostMinor, major, minor, nameBytes, checksum],
  ];
  return `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
}

/**
 * Writes an archive.
 *
 * @param entries What is in it; a folder stands before what it contains.
 * @returns The archive.
 */
export function cpioArchive(entries: readonly CpioEntry[]): Uint8Array<ArrayBuffer> {
  const encoder = new TextEncoder();
  const parts = [...entries, TRAILER].flatMap((entry, at) => {
    const name = encoder.encode(`${entry.path}\0`);
    const head = encoder.encode(header(entry, at + 1, name.length));
    const content = entry.content ?? new Uint8Array();
    return [head, name, padding(head.length + name.length), content, padding(content.length)];
  });
  const archive = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    archive.set(part, at);
    at += part.length;
  }
  return archive;
}
