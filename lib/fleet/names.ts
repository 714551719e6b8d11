/**
 * The names that a fleet has in the engine: its bucket, its stream, its subjects. Gateways, commands
 * and the rights that an operator gives out all go by them, so they stand here alone.
 *
 * Fleets, gateways, guests, groups and services are called by DNS labels, so none of these names can
 * mean two things and none needs quoting.
 *
 * @module
 */
import { isLabel } from "../config/label.ts";

export { isLabel, LABEL_RULE } from "../config/label.ts";

/** What the description of a policy bucket says; another one's is no policy bucket of a fleet. */
export const POLICY_DESCRIPTION = "virtio-gateway policy 1";

/** What the description of an audit stream says. */
export const AUDIT_DESCRIPTION = "virtio-gateway audit 1";

/** Key of the policy of the whole fleet. */
export const FLEET_KEY = "fleet";

/** What a record of the audit is about. */
export type AuditKind = "denial" | "life";

/** Whom a policy document is for. */
export type PolicyKey =
  | { readonly scope: "fleet" }
  | { readonly scope: "group" | "guest"; readonly name: string };

/** The bucket that holds a fleet's policy documents. */
export function policyBucket(fleet: string): string {
  return `virtio-gateway-${fleet}-policy`;
}

/** The key of the document of a group. */
export function groupKey(group: string): string {
  return `group.${group}`;
}

/** The key of the document of a guest. */
export function guestKey(guest: string): string {
  return `guest.${guest}`;
}

/** Whom a key of the policy bucket is for; `null` where it is none of a fleet's. */
export function parsePolicyKey(key: string): PolicyKey | null {
  if (key === FLEET_KEY) return { scope: "fleet" };
  const [scope, name, ...rest] = key.split(".");
  if ((scope !== "group" && scope !== "guest") || name === undefined || rest.length > 0) {
    return null;
  }
  return isLabel(name) ? { scope, name } : null;
}

/** The stream that holds a fleet's audit. */
export function auditStream(fleet: string): string {
  return `virtio-gateway-${fleet}-audit`;
}

/** The subject of a record of the audit. */
export function auditSubject(fleet: string, gateway: string, kind: AuditKind): string {
  return `virtio-gateway.${fleet}.audit.${gateway}.${kind}`;
}

/** The subjects of a fleet's audit, those of one gateway, or those of one kind. */
export function auditSubjects(
  fleet: string,
  { gateway, kind }: { readonly gateway?: string; readonly kind?: AuditKind } = {},
): string {
  if (gateway === undefined && kind === undefined) return `virtio-gateway.${fleet}.audit.>`;
  return `virtio-gateway.${fleet}.audit.${gateway ?? "*"}.${kind ?? "*"}`;
}

/** Where a gateway announces itself; without one, where all of a fleet do. */
export function aliveSubject(fleet: string, gateway = "*"): string {
  return `virtio-gateway.${fleet}.alive.${gateway}`;
}

/** Where a gateway says that it ends; without one, where all of a fleet do. */
export function goneSubject(fleet: string, gateway = "*"): string {
  return `virtio-gateway.${fleet}.gone.${gateway}`;
}

/** Where all gateways of a fleet are asked to announce themselves. */
export function whoSubject(fleet: string): string {
  return `virtio-gateway.${fleet}.who`;
}

/** Where the engine's answers to a gateway go: an inbox that nobody else need have the right to. */
export function inboxPrefix(fleet: string, gateway: string): string {
  return `_INBOX.virtio-gateway.${fleet}.${gateway}`;
}

/** The gateway that a subject of {@linkcode aliveSubject} or {@linkcode goneSubject} names. */
export function gatewayOfSubject(subject: string): string {
  return subject.slice(subject.lastIndexOf(".") + 1);
}
