/**
 * How long an answer of a guest's gateway is waited for. One in a worker that hangs, or is being
 * started again, may have none for long: who asks for it is told so, and who asks for all gets the
 * others.
 *
 * @module
 */
import { ControlFault } from "./control_fault.ts";

/** Unless it is said otherwise, in milliseconds; a scrape of Prometheus waits for 10 s. */
export const ANSWER_MS = 5_000;

/**
 * Waits for an answer, and no longer than for some time.
 *
 * @param answer The answer.
 * @param guest Whose, in the words of the fault.
 * @param ms For how long, in milliseconds.
 * @param onLate Is given an answer that comes when nobody waits for it any more.
 * @throws {ControlFault} Where none has come by then.
 */
export async function answerOf<T>(
  answer: Promise<T>,
  guest: string,
  ms: number,
  onLate: (answer: T) => void = () => {},
): Promise<T> {
  let isLate = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      isLate = true;
      reject(
        new ControlFault("not-ready", `the gateway of guest ${guest} did not answer in time`, {
          hint: "Ask again in a moment; what was asked for may still be done",
          headers: { "Retry-After": "1" },
        }),
      );
    }, ms);
  });
  answer.then((value) => isLate && onLate(value), () => {});
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
