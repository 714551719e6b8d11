/** Which signal is a press of Ctrl-C, and which one the same press again. */
import { assertEquals } from "@std/assert";
import { SignalEcho } from "../../lib/cli/signal_echo.ts";

Deno.test("the same signal within a tenth of a second is one, counted from the first", () => {
  const echo = new SignalEcho();
  const came = (name: Deno.Signal, nowMs: number) => echo.isEcho(name, nowMs);
  assertEquals(came("SIGINT", 0), false);
  assertEquals(came("SIGINT", 0), true);
  assertEquals(came("SIGINT", 60), true);
  assertEquals(came("SIGINT", 99.9), true);
  assertEquals(came("SIGINT", 100), false);
  assertEquals(came("SIGINT", 199.9), true);
});

Deno.test("another signal is none's echo, and comes between the two of one", () => {
  const echo = new SignalEcho();
  assertEquals(echo.isEcho("SIGINT", 0), false);
  assertEquals(echo.isEcho("SIGTERM", 1), false);
  assertEquals(echo.isEcho("SIGINT", 2), false);
});
