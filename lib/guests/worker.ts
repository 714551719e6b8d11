/**
 * The entry of a worker that serves guests.
 *
 * @module
 */
import type { FromWorker, ToWorker } from "./messages.ts";
import { WorkerSide } from "./worker_side.ts";

/** The scope of a worker, of which the types of a program know nothing. */
interface WorkerScope {
  postMessage(message: FromWorker, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
}

const scope = globalThis as unknown as WorkerScope;
const side = new WorkerSide((message, transfer = []) => scope.postMessage(message, transfer));
scope.onmessage = ({ data }) => void side.take(data);
