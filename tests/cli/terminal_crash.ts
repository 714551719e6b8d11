/** Takes the terminal as `top` does and then ends in a way that nobody has foreseen. */
import { TopTerminal } from "../../lib/cli/top_terminal.ts";

const ways: Readonly<Record<string, () => void>> = {
  throw() {
    throw new Error("a crash");
  },
  reject() {
    void Promise.reject(new Error("a crash"));
  },
  exit() {
    Deno.exit(1);
  },
};

const terminal = new TopTerminal({ color: false, onResize: () => {}, onStop: () => {} });
const size = { columns: 20, rows: 2 };
terminal.draw([{ text: "taken", style: "text" }, { text: "x".repeat(20), style: "text" }], size);
setTimeout(ways[Deno.args[0]!]!, 200);
await terminal.read();
