/**
 * What the commands of a fleet do, for the help and the reference.
 *
 * @module
 */
import type { CommandName } from "./commands.ts";

/** The commands that these texts are of. */
type FleetName = Extract<CommandName, `fleet${string}`>;

/** One line for each. */
export const FLEET_SUMMARIES: Readonly<Record<FleetName, string>> = {
  "fleet": "many gateways, one policy, one look: its commands are listed by fleet --help",
  "fleet init": "make the fleet's bucket of policies and its stream of refusals on the engine",
  "fleet status": "gateways, guests and services of the fleet, and who is behind or closed",
  "fleet top": "the fleet's guests live: what they carry, what they are refused",
  "fleet denials": "what all gateways have refused, from the fleet's stream",
  "fleet policy": "the fleet's policy documents: look at them, change them, ask them",
  "fleet policy get": "a policy document as it was written, or which ones there are",
  "fleet policy put": "check a policy document, write it, and say where it is in force",
  "fleet policy delete": "take a policy document away, and say where that is in force",
  "fleet policy history": "what has changed when: the revisions of the documents",
  "fleet policy explain":
    "would a guest of the fleet reach a target, by which line of which document",
};

const WHICH_FLEET = `The engine is named with --fleet, VIRTIO_GATEWAY_FLEET or the file of --config,
and asked with the credentials that --fleet-credentials names.`;

const KEYS =
  `KEY is fleet, group.NAME or guest.NAME: a document of all guests, of a group, of one.`;

/** The text of each one's help. */
export const FLEET_DETAILS: Readonly<Record<FleetName, string>> = {
  "fleet": `Gateways that run with --fleet share nothing but an engine, NATS with JetStream: their
policy comes from it, what they refuse goes to it, and they tell each other there which guests and
services they have. These commands ask the engine, and no gateway.`,
  "fleet init": `Makes what gateways need and can't make themselves: a bucket for policy documents
and a stream for refusals. What is there already stays as it is, but for --replicas, where that is
given. Asks for more rights on the engine than any other command.

${WHICH_FLEET}`,
  "fleet status":
    `Asks all gateways to announce themselves, and lists those that do within a second:
the revision of the policy that each has in force, and what is wrong where it is not the latest one.

${WHICH_FLEET}`,
  "fleet top": `Shows the guests of the fleet on the whole screen, those that carry most first, as
their gateways announce them every two seconds. Keys: q quits, s and r sort, / filters, arrows and
pages move, g shows gateways, d what was refused last, p pauses, ? lists them all. On a pipe it
prints one table and ends.

${WHICH_FLEET}`,
  "fleet denials":
    `Shows what the gateways have refused, the latest last, with the line that allows it.
Refusals that are alike within ten seconds stand together. With --follow each comes as the stream
gets it; what a gateway has noted while it had no engine comes when it has one again.

${WHICH_FLEET}`,
  "fleet policy": `The policy of a guest is made of the documents fleet, group.NAME and guest.NAME
and of its host's own configuration, all together: a deny in any of them wins, and as soon as one
of them allows something, all that none allows is refused. A document has the keys of the policy
section of a configuration, or closes everything:

  protect: strict
  deny: [metadata, 10.0.0.0/8]
  allow: ["*.example.com", "github.com:22"]

  closed: true`,
  "fleet policy get":
    `Prints a document as it was written; without KEY a line for each document that
there is.

${KEYS}

${WHICH_FLEET}`,
  "fleet policy put":
    `Checks a document as gateways do, shows which rules come and go, writes it, and
waits up to two seconds for the gateways to say that it is in force. Nothing is written where it is
malformed, where it would close everything without saying closed: true, or where somebody else has
changed it meanwhile. Exits with 1 where a gateway has refused it. fleet policy --help shows what
stands in a document.

${KEYS}

  virtio-gateway fleet policy put group.ci ci.yaml --if-revision 12

${WHICH_FLEET}`,
  "fleet policy delete": `Takes a document away. Its history stays.

${KEYS}

${WHICH_FLEET}`,
  "fleet policy history": `Lists the revisions of a document, or of all, the latest first: when, how
long, and which rules have come and gone. The engine keeps the last 64 of each.

${KEYS}

${WHICH_FLEET}`,
  "fleet policy explain": `TARGET is as with explain: pypi.org:443, 10.0.0.5:5432/tcp or a URL.

Merges the documents as the gateways do and says which line of which document decides. The host's
own configuration is a part of the policy too: it is not known here, unless --config names its file.
Exits with 0 where the guest would reach the target and with 5 where it would not.

${WHICH_FLEET}`,
};
