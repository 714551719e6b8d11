/**
 * A worker that serves members of a shared network: it sends each run back to where it came from.
 */
import { LanHub, type LanHubOptions } from "../../lib/host/lan_hub.ts";
import type { LanAttachment } from "../../lib/host/lan_attachment.ts";

/** What the worker is told: its hub, and which members it serves. */
export interface EchoOrder extends LanHubOptions {
  readonly serves: readonly number[];
}

/** Sends back all that waits for a member; runs that find no room are tried again. */
function echo({ rings, self, wake }: LanAttachment): boolean {
  rings.takePending(self);
  let isLeft = false;
  for (let from = 0; from < rings.members; from++) {
    if (from === self) continue;
    let sent = false;
    for (let n = rings.peek(from, self); n > 0; n = rings.peek(from, self)) {
      if (!rings.push(self, from, rings.bytes, rings.runAt, n)) {
        isLeft = true;
        break;
      }
      rings.pop(from, self);
      sent = true;
    }
    if (sent && rings.announce(self, from)) wake(from);
  }
  return isLeft;
}

const scope = globalThis as unknown as {
  onmessage: ((event: MessageEvent<EchoOrder | "leave" | "come">) => void) | null;
  postMessage(message: string): void;
};

let attachments: LanAttachment[] = [];
let hub: LanHub | null = null;

function listen(attachment: LanAttachment): void {
  const run = (): void => {
    if (echo(attachment)) setTimeout(run, 1);
  };
  attachment.listen(run);
}

scope.onmessage = ({ data }) => {
  if (data === "leave") attachments.forEach((each) => each.listen(null));
  else if (data === "come") attachments.forEach(listen);
  else {
    hub?.close();
    const made = hub = new LanHub(data);
    attachments = data.serves.map((member) => made.attach(member));
    attachments.forEach(listen);
  }
  scope.postMessage("done");
};
