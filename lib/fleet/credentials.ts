/**
 * What a gateway shows to the engine: one secret, and what TLS trusts and shows.
 *
 * @module
 */
import type { ConnectionOptions } from "@nats-io/nats-core";
import { credsAuthenticator, nkeyAuthenticator } from "@nats-io/nats-core";

/** Who a gateway is towards the engine. Shown by an {@linkcode Engine}. */
export type Secret = TokenSecret | UserSecret | NkeySecret | CredsSecret;

/** A token that all share. A {@linkcode Secret}, shown by an {@linkcode Engine}. */
export interface TokenSecret {
  /** Which kind it is. */
  readonly kind: "token";
  /** The token. */
  readonly token: string;
}

/** A user and a password. A {@linkcode Secret}, shown by an {@linkcode Engine}. */
export interface UserSecret {
  /** Which kind it is. */
  readonly kind: "user";
  /** The user's name. */
  readonly user: string;
  /** The password. */
  readonly password: string;
}

/** A user's key pair. A {@linkcode Secret}, of which an {@linkcode Engine} shows signatures. */
export interface NkeySecret {
  /** Which kind it is. */
  readonly kind: "nkey";
  /** Its seed, `SU…`. */
  readonly seed: string;
}

/** A user's JWT with its key. A {@linkcode Secret}, of which an {@linkcode Engine} shows signatures. */
export interface CredsSecret {
  /** Which kind it is. */
  readonly kind: "creds";
  /** The text of the `.creds` file. */
  readonly text: string;
}

/** What TLS trusts and shows; texts in PEM. Used by an {@linkcode Engine}. */
export interface TlsMaterial {
  /** Certificates of the authorities that are trusted; the system's where absent. */
  readonly ca?: string;
  /** The gateway's own certificate. */
  readonly cert?: string;
  /** The key of that. */
  readonly key?: string;
}

/** What a file of credentials says. Shown by an {@linkcode Engine}. */
export interface Credentials {
  /** Where it stands, for messages. */
  readonly path: string;
  /** The secret; `null` where the certificate alone says who it is. */
  readonly secret: Secret | null;
  /** For TLS; `null` where nothing is said of it. */
  readonly tls: TlsMaterial | null;
}

/** The same as the client of the engine takes it. */
export function authOptions(auth: Credentials | null): ConnectionOptions {
  const secret = auth?.secret ?? null;
  const tls = auth?.tls ? { tls: auth.tls } : {};
  switch (secret?.kind) {
    case undefined:
      return tls;
    case "token":
      return { ...tls, token: secret.token };
    case "user":
      return { ...tls, user: secret.user, pass: secret.password };
    case "nkey":
      return { ...tls, authenticator: nkeyAuthenticator(new TextEncoder().encode(secret.seed)) };
    case "creds":
      return { ...tls, authenticator: credsAuthenticator(new TextEncoder().encode(secret.text)) };
  }
}
