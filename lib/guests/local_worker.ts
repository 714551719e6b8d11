/**
 * A worker that is none: it serves its guests in the isolate that asked for it.
 *
 * @module
 */
import type { WorkerLike } from "./guest_worker.ts";
import { WorkerSide } from "./worker_side.ts";

/** Starts one. */
export function startLocalWorker(): WorkerLike {
  let isOver = false;
  const side = new WorkerSide((data) => {
    // As from a worker, nobody hears of it within the call.
    queueMicrotask(() => {
      if (!isOver) worker.onmessage?.({ data } as MessageEvent);
    });
  });
  const worker: WorkerLike = {
    onmessage: null,
    onmessageerror: null,
    onerror: null,
    postMessage: (message) => queueMicrotask(() => void side.take(message)),
    terminate() {
      isOver = true;
      void side.take({ type: "end", how: "abort" });
    },
  };
  return worker;
}
