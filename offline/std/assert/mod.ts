/** Assertions with the signatures of `@std/assert`, on Node's own `assert`. See `../../README.md`. */
import nodeAssert from "node:assert";

export class AssertionError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

// deno-lint-ignore no-explicit-any
type AnyConstructor = abstract new (...args: any[]) => any;

function fail_(message: string, msg?: string): never {
  throw new AssertionError(msg ? `${message}: ${msg}` : message);
}

export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

export function assertFalse(expr: unknown, msg = ""): void {
  if (expr) throw new AssertionError(msg);
}

export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    nodeAssert.deepStrictEqual(actual, expected);
  } catch (error) {
    fail_((error as Error).message, msg);
  }
}

export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    nodeAssert.notDeepStrictEqual(actual, expected);
  } catch (error) {
    fail_((error as Error).message, msg);
  }
}

export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (!Object.is(actual, expected)) fail_("Values are not strictly equal", msg);
}

export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) fail_(`Expected a value, got ${actual}`, msg);
}

export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) {
    fail_(`Expected ${JSON.stringify(actual)} to contain ${JSON.stringify(expected)}`, msg);
  }
}

export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (!expected.test(actual)) fail_(`Expected ${JSON.stringify(actual)} to match ${expected}`, msg);
}

export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) fail_(`Expected ${actual} > ${expected}`, msg);
}

export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual >= expected)) fail_(`Expected ${actual} >= ${expected}`, msg);
}

export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) fail_(`Expected ${actual} < ${expected}`, msg);
}

export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual <= expected)) fail_(`Expected ${actual} <= ${expected}`, msg);
}

export function assertInstanceOf<T extends AnyConstructor>(
  actual: unknown,
  expectedType: T,
  msg = "",
): asserts actual is InstanceType<T> {
  if (!(actual instanceof expectedType)) fail_(`Expected an instance of ${expectedType.name}`, msg);
}

function checkError(
  error: unknown,
  ErrorClass?: AnyConstructor,
  msgIncludes?: string,
  msg?: string,
): Error {
  if (!(error instanceof Error)) fail_("A non-Error was thrown", msg);
  if (ErrorClass && !(error instanceof ErrorClass)) {
    fail_(`Expected ${ErrorClass.name}, got ${error.name}: ${error.message}`, msg);
  }
  if (msgIncludes && !error.message.includes(msgIncludes)) {
    fail_(
      `Expected an error with ${JSON.stringify(msgIncludes)}, got ${JSON.stringify(error.message)}`,
      msg,
    );
  }
  return error;
}

export function assertThrows(
  fn: () => unknown,
  ErrorClass?: AnyConstructor,
  msgIncludes?: string,
  msg?: string,
): Error {
  try {
    fn();
  } catch (error) {
    return checkError(error, ErrorClass, msgIncludes, msg);
  }
  fail_("Expected the function to throw", msg);
}

export async function assertRejects(
  fn: () => PromiseLike<unknown>,
  ErrorClass?: AnyConstructor,
  msgIncludes?: string,
  msg?: string,
): Promise<Error> {
  try {
    await fn();
  } catch (error) {
    return checkError(error, ErrorClass, msgIncludes, msg);
  }
  fail_("Expected the promise to reject", msg);
}

export function fail(msg?: string): never {
  throw new AssertionError(msg ? `Failed assertion: ${msg}` : "Failed assertion.");
}

export function unreachable(msg?: string): never {
  throw new AssertionError(msg ? `Unreachable: ${msg}` : "Unreachable.");
}
