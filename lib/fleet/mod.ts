/**
 * A fleet: many gateways that share one policy, one registry of services and one audit through an
 * engine (NATS with JetStream), and nothing else. Its own entry, so that nobody else loads the
 * engine's client.
 *
 * @example The engine may come later than the gateway
 * ```ts
 * import { Engine } from "@virtio/gateway/fleet";
 * import { assertEquals } from "@std/assert";
 *
 * await using engine = Engine.open({ servers: ["nats://127.0.0.1:9"], name: "example" });
 * assertEquals(engine.state, "connecting");
 * ```
 *
 * @module
 */
export {
  Fleet,
  type FleetHostLayer,
  type FleetServed,
  PreparedFleet,
  prepareFleet,
} from "./fleet.ts";
export type { FleetGuest, FleetOptions } from "./fleet_options.ts";
export { FleetGateway, FleetGuests, FleetServer } from "./fleet_gateway.ts";
export type {
  FleetAccess,
  FleetGuestSettings,
  FleetService,
  FleetSettings,
} from "../config/fleet.ts";
export {
  type ChangeOptions,
  PolicyStore,
  type PresentDocument,
  type StoredDocument,
} from "./policy_store.ts";
export { checkChange, type CheckedChange, type ProposedChange } from "./policy_check.ts";
export type { PolicyDocument } from "./policy_document.ts";
export type { FleetMember } from "./policy_set.ts";
export { callRoll, type RollCall, type RollCallOptions } from "./roll_call.ts";
export type {
  AnnouncedAudit,
  AnnouncedGuest,
  AnnouncedService,
  Announcement,
  PolicyState,
  RejectedPolicy,
} from "./announcement.ts";
export { Engine, type EngineAddress, type EngineOptions, type EngineState } from "./engine.ts";
export {
  type Credentials,
  type CredsSecret,
  type NkeySecret,
  readCredentials,
  type Secret,
  type TlsMaterial,
  type TokenSecret,
  type UserSecret,
} from "./credentials.ts";
