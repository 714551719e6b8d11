import { assert, assertEquals } from "@std/assert";
import { BaseHandler, Logger, type LogRecord } from "@std/log";

class Lines extends BaseHandler {
  readonly lines: string[] = [];
  override log(line: string): void {
    this.lines.push(line);
  }
}

Deno.test("a message passes the level of the logger and of the handler", () => {
  const handler = new Lines("WARN");
  const logger = new Logger("test", "INFO", { handlers: [handler] });
  logger.debug("below both");
  logger.info("below the handler");
  logger.warn("shown");
  logger.error("shown too");
  assertEquals(handler.lines, ["WARN shown", "ERROR shown too"]);
});

Deno.test("the formatter sees the arguments, the time and the logger's name", () => {
  let seen: LogRecord | undefined;
  const formatter = (record: LogRecord): string => {
    seen = record;
    return `${record.loggerName}: ${record.msg} ${JSON.stringify(record.args)}`;
  };
  const handler = new Lines("DEBUG", { formatter });
  new Logger("gw", "DEBUG", { handlers: [handler] }).debug("hello", { port: 1 });
  assertEquals(handler.lines, [`gw: hello [{"port":1}]`]);
  assert(seen!.datetime.getTime() > 0);
});
