/**
 * Reads a stream of server-sent events as the control interface writes it: blocks between empty lines,
 * each with an `id` and a `data` line, or one of the two.
 *
 * @module
 */

/**
 * The blocks of a stream; what comes behind the last empty line is none.
 *
 * @param stream The octets of an answer's body.
 */
export async function* serverSentEvents(
  stream: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ id: string; data: string }> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of stream) {
    text += decoder.decode(bytes, { stream: true });
    const blocks = text.split("\n\n");
    text = blocks.pop()!;
    for (const block of blocks) {
      yield { id: fieldOf(block, "id"), data: fieldOf(block, "data") };
    }
  }
}

function fieldOf(block: string, name: string): string {
  const line = block.split("\n").find((each) => each.startsWith(`${name}: `));
  return line?.slice(name.length + 2) ?? "";
}
