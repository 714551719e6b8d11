/**
 * What a command may print on: results to stdout, everything else to stderr.
 *
 * @module
 */

/** The command's way to the terminal. */
export interface CliIo {
  /** Whether stderr is a terminal. */
  readonly isTerminal: boolean;
  /** Whether colours are welcome: a terminal, and neither NO_COLOR nor `--no-color`. */
  readonly color: boolean;
  /** Whether somebody still reads the result; a pipe's reader may have gone. */
  readonly hasReader: boolean;
  /** Writes a line of the result to stdout. */
  out(line: string): void;
  /** Writes a line to stderr. */
  err(line: string): void;
  /** Shows a passing line on a terminal's stderr, in place of the last one; `""` removes it. */
  progress(line: string): void;
}

/** A file that takes bytes. */
interface Sink {
  writeSync(bytes: Uint8Array): number;
}

const encoder = new TextEncoder();

/**
 * The process's own stdout and stderr.
 *
 * @param wantsColor Whether `--no-color` was not given.
 * @returns The way to the terminal.
 */
export function processIo(wantsColor: boolean): CliIo {
  const isTerminal = Deno.stderr.isTerminal();
  let hasProgress = false;
  let hasReader = true;
  const progress = (line: string): void => {
    if (!isTerminal || (line === "" && !hasProgress)) return;
    write(Deno.stderr, `\r\x1b[K${line}`);
    hasProgress = line !== "";
  };
  return {
    isTerminal,
    color: wantsColor && isTerminal && !Deno.noColor,
    get hasReader() {
      return hasReader;
    },
    out(line) {
      progress("");
      hasReader = write(Deno.stdout, `${line}\n`) && hasReader;
    },
    err(line) {
      try {
        progress("");
        write(Deno.stderr, `${line}\n`);
      } catch {
        // A full disk: there is no other place to say so, and the exit code says the rest.
      }
    },
    progress,
  };
}

/** Writes all of a text; false where its reader has gone away, which is not an error. */
function write(sink: Sink, text: string): boolean {
  const bytes = encoder.encode(text);
  try {
    for (let at = 0; at < bytes.length;) at += sink.writeSync(bytes.subarray(at));
    return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    return false;
  }
}
