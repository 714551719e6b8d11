/**
 * What TCP promises a guest, item by item, with the RFCs that say so and the tests that show it.
 *
 * `conformance_test.ts` holds that each of the named tests is there.
 *
 * @module
 */

/** One promise. */
export interface ConformanceItem {
  /** What is promised. */
  item: string;
  /** Who says so. */
  source: string;
  /** Names of tests, as they stand in the source; `${…}` is part of such a name. */
  tests: readonly string[];
}

/** All of them, in the order of a connection's life. */
export const CONFORMANCE: readonly ConformanceItem[] = [
  {
    item: "checksums are verified, and right",
    source: "RFC 9293 3.1 (MUST-2, MUST-3)",
    tests: ["a wrong checksum drops the segment", "guest network: checksums `verify` drops them"],
  },
  {
    item: "options in any order, unknown ones skipped, broken ones end the segment",
    source: "RFC 9293 3.1, 3.2 (MUST-6, MUST-7)",
    tests: [
      "options come in any order, with unknown ones, NOPs and an end in between",
      "options of no known kind are passed over in any segment",
      "an option ${what} drops the segment",
      "a data offset of ${words} words in 20 octets drops the segment",
    ],
  },
  {
    item: "MSS counts on a SYN only; default 536 over IPv4, 1220 over IPv6; no less than 88",
    source: "RFC 9293 3.7.1 (MUST-15), RFC 6691",
    tests: [
      "an MSS that is ${name} makes segments of ${bytes} octets",
      "an MSS that is ${mss} makes segments of 88 octets",
      "over IPv6, <${options}> makes segments of ${bytes} octets",
      "an MSS on a segment that is no SYN changes nothing",
      "timestamps take their room from the data",
      "a jumbo link is announced, and its segments are sent",
    ],
  },
  {
    item: "a SYN-ACK only after the host has connected",
    source: "RFC 9293 3.10.7.2",
    tests: [
      "a SYN is answered only once the host has connected",
      "tcp dial: a SYN is answered only when the host has connected",
      "tcp dial: how it failed is what the guest hears",
      "a refused SYN gets an RST that acknowledges it",
      "tcp dial: one that takes too long is given up by ICMP",
    ],
  },
  {
    item: "one dial a SYN",
    source: "RFC 9293 3.8.1",
    tests: [
      "a SYN that is sent again while the host is dialled makes no second offer",
      "a dropped SYN gets nothing, and the next one is offered afresh",
      "tcp dial: a guest that resets while it waits takes the dial back",
    ],
  },
  {
    item: "the SYN and the SYN-ACK are sent again, then the guest is given up",
    source: "RFC 9293 3.8.3 (MUST-23)",
    tests: [
      "a SYN-ACK without an answer is sent again, and the handshake goes on",
      "the SYN-ACK is sent again after 1, 2, 4, 8 and 16 s, then the guest is given up",
      "a SYN of the gateway's without an answer is sent again",
      "a guest that does not answer a published port is given up after six SYNs",
    ],
  },
  {
    item: "simultaneous open",
    source: "RFC 9293 3.5 (MUST-10)",
    tests: [
      "both sides open at once",
      "the window of the SYN-ACK is not scaled either when both sides open at once",
    ],
  },
  {
    item: "half-close both ways, with a mebibyte after the FIN",
    source: "RFC 9293 3.6",
    tests: [
      "after the guest's FIN the host still sends a mebibyte",
      "after the host's FIN the guest still sends a mebibyte",
      "tcp relay: the guest finishes first, its bytes and then the answer arrive",
      "tcp relay: the host finishes first, the guest's bytes still arrive",
    ],
  },
  {
    item: "simultaneous close",
    source: "RFC 9293 3.6",
    tests: [
      "both finish at once",
      "both finish at once, and the guest's FIN acknowledges the host's",
      "tcp relay: both sides finish at once with bytes under way",
    ],
  },
  {
    item: "a FIN with data, early, and again",
    source: "RFC 9293 3.10.7.4",
    tests: [
      "a FIN comes with data",
      "the FIN that comes before the data in front of it waits",
      "a bare FIN that comes early is answered at once, and waits",
      "a guest's FIN that comes again is acknowledged again",
      "data behind the guest's FIN is not taken",
      "the host's last data and its FIN go out together",
      "a lost FIN is sent again, doubling the time",
    ],
  },
  {
    item: "a reset of the host is one for the guest, and the other way round at once",
    source: "RFC 9293 3.5.3",
    tests: [
      "tcp relay: a host's reset is an RST for the guest",
      "tcp relay: a guest's reset closes the host's side",
      "tcp relay: a guest's reset frees a flow whose host does not read",
      "an RST at exactly the next number ends the connection",
      "an abort sends an RST with the next number, and frees everything",
      "a segment for a connection that never was gets an RST, an RST gets nothing",
    ],
  },
  {
    item: "an end with octets that nobody has taken is an RST",
    source: "RFC 9293 3.6.1 (SHLD-3)",
    tests: [
      "an end of the host's with octets that it has not taken is an RST",
      "tcp relay: bytes for a host that has closed are not lost without a word",
    ],
  },
  {
    item: "TIME_WAIT, ten seconds, which a new SYN ends and an RST doesn't",
    source: "RFC 9293 3.6.1, RFC 6191, RFC 1337",
    tests: [
      "the host finishes first, and TIME_WAIT keeps the four-tuple for ten seconds",
      "in TIME_WAIT a FIN that comes again is acknowledged, and the wait begins anew",
      "in TIME_WAIT a new SYN with a later number is another connection",
      "in TIME_WAIT a new SYN with a later number ends the old connection",
      "in TIME_WAIT a SYN with an old number and a newer timestamp opens",
      "in TIME_WAIT a SYN with an old number and no newer timestamp is acknowledged",
      "in TIME_WAIT an RST is ignored",
    ],
  },
  {
    item: "acceptability, with numbers that wrap",
    source: "RFC 9293 3.4, 3.10.7.4",
    tests: [
      "sequence numbers wrap in the middle of a segment and of a gap",
      "what lies before the window is answered with an ACK",
      "what lies behind the window is answered with an ACK",
      "of a segment across the window's edge the part inside counts",
      "an RST outside of the window is dropped without a word",
      "octets that were acknowledged are not taken a second time",
      "the first copy of an octet counts, before and behind a gap",
    ],
  },
  {
    item: "acceptability with a window of zero",
    source: "RFC 9293 3.10.7.4 (MUST-66)",
    tests: [
      "a closed window is told as 0, and every probe into it answered",
      "an ACK counts on a probe into the closed window",
      "an ACK that stands exactly at the window's edge counts: the guest has used it up",
      "into a closed window only the exact RST counts",
    ],
  },
  {
    item: "RST, SYN and ACK out of place get a challenge ACK, limited for each flow",
    source: "RFC 5961 3, 4, 5, 7",
    tests: [
      "an RST inside the window but not at the next number gets a challenge ACK",
      "a SYN in ESTABLISHED gets a challenge ACK, wherever its number is",
      "in ${state} an exact RST frees everything, one beside it is challenged",
      "in ${state} a SYN changes nothing",
      "in ${state} an ACK of what was never sent changes nothing",
      "data with an ACK of what was never sent is not taken",
      "data with an ACK older than any window is not taken",
      "challenge ACKs are limited for each flow and never across flows",
    ],
  },
  {
    item: "a segment without ACK is dropped, urgent octets are octets in line",
    source: "RFC 9293 3.10.7.4, RFC 6093 6",
    tests: [
      "a segment without ACK is dropped and counted",
      "urgent octets are octets in line, wherever the pointer points",
    ],
  },
  {
    item: "window scale if both offer it, at most 14, never on a SYN",
    source: "RFC 7323 2.2, 2.3",
    tests: [
      "without a window scale of the guest's both windows are what they say",
      "what the guest's answer does not have the connection does without",
      "the window of a SYN is never scaled",
      "a window scale above 14 counts as 14",
    ],
  },
  {
    item: "timestamps if both offer them, and PAWS",
    source: "RFC 7323 3, 4, 5",
    tests: [
      "what the guest does not offer is not answered",
      "timestamps echo what the last acknowledged segment carried",
      "timestamps wrap",
      "PAWS: a segment with an older timestamp is answered and dropped",
      "PAWS: a timestamp of more than 24 days ago says nothing",
      "PAWS goes on after hours of idleness",
      "PAWS does not stop an RST",
    ],
  },
  {
    item: "SACK from the receiver, with D-SACK",
    source: "RFC 2018 3, 4, RFC 2883 4",
    tests: [
      "a gap is answered at once, and every segment behind it",
      "the most recent range stands first, at most four without timestamps",
      "with timestamps there is room for three",
      "D-SACK reports octets that came twice, once",
      "D-SACK of early octets stands in front of the range that holds them",
      "SACK tells of a gap even while data goes the other way",
      "without SACK a gap is answered with plain duplicates",
    ],
  },
  {
    item: "RACK finds losses of one, two and many segments",
    source: "RFC 8985 6",
    tests: [
      "one segment lost: sent again once three behind it have arrived, without a timeout",
      "one segment lost in a short flight: sent again after the reordering window",
      "two segments lost",
      "every second segment lost",
      "all but the last segment lost",
      "reordering within a quarter of a round trip loses nothing",
      "a D-SACK widens the reordering window",
      "octets that SACK has taken back are sent again",
    ],
  },
  {
    item: "TLP finds losses at the end of a flight",
    source: "RFC 8985 7",
    tests: [
      "the last segment lost: a probe repeats it before the retransmission timer",
      "the last three segments lost: the probe's SACK reveals the others",
      "a probe takes new data where there is some",
      "one probe goes out, then the timer does the rest",
    ],
  },
  {
    item: "a retransmission that is lost as well",
    source: "RFC 8985 6.2",
    tests: [
      "a retransmission that is lost is found by what was sent after it",
      "a retransmission of the first segment starts the timer anew",
    ],
  },
  {
    item: "RTO: from the round trip, no less than 200 ms, Karn, doubling, the end after 15",
    source: "RFC 6298 2 to 5, RFC 9293 3.8.3 (MUST-20)",
    tests: [
      "the timer is a second before the first round trip is known",
      "the timer follows the round trip and its variation",
      "the timer is never below 200 ms, and doubles",
      "what was sent twice gives no sample of the round trip (Karn)",
      "the doubling stays until a segment that was sent once is acknowledged (Karn)",
      "with timestamps the ACK of a segment that was sent twice is a sample as well",
      "after fifteen retransmissions in vain the connection is given up",
    ],
  },
  {
    item: "CUBIC from ten segments, which gets over a full queue of the guest's",
    source: "RFC 9438, RFC 6928",
    tests: [
      "ten segments may leave before the first ACK, and twenty after it",
      "it begins with ten segments and doubles each round trip",
      "a loss takes it to seven tenths, once for all losses of the flight",
      "a timeout takes it to one segment",
      "after the overflow of a guest's queue the transfer goes on at full window",
      "after a loss CUBIC comes back to the old window in K seconds, then goes beyond",
    ],
  },
  {
    item: "fast retransmit and recovery for a guest without SACK",
    source: "RFC 5681 3.2, RFC 6582",
    tests: [
      "without SACK three duplicates send the first segment again",
      "without SACK a partial ACK sends the next segment again",
      "ACKs with data, and window updates, are no duplicates",
    ],
  },
  {
    item: "limited transmit",
    source: "RFC 3042",
    tests: [
      "the first duplicates let new segments out (limited transmit)",
      "with SACK, too, the first duplicates let new segments out",
    ],
  },
  {
    item: "zero-window probes, further apart each time, that never give up while answered",
    source: "RFC 9293 3.8.6.1 (MUST-36, MUST-37)",
    tests: [
      "a window that closes stops the data, and is probed, later each time",
      "a window that closes stops the data; probes follow, each later than the one before",
      "probes that are answered go on for as long as the guest likes, and back off too",
      "a guest that never opens its window is probed until the idle limit",
    ],
  },
  {
    item: "window updates that are lost are found",
    source: "RFC 9293 3.8.6.1",
    tests: [
      "a window update that was lost is found by the probe's answer",
      "a window update that is lost is found by the guest's probe",
    ],
  },
  {
    item: "windows that shrink are tolerated",
    source: "RFC 9293 3.8.6 (SHLD-14 to SHLD-16, MUST-34)",
    tests: [
      "a window that shrinks below what is in flight lets nothing more out",
      "a window that shrinks below what is in flight is tolerated",
      "a window that shrinks to nothing below what is in flight never gives up",
    ],
  },
  {
    item: "silly windows are avoided both ways",
    source: "RFC 9293 3.8.6.2 (MUST-38, MUST-39)",
    tests: [
      "a window of a few octets is not used up in crumbs",
      "a window that is at least half of the largest is used although no segment fills it",
      "a closed window opens once there is room for a segment, not for crumbs",
      "the window of a reader that takes crumbs stays closed",
    ],
  },
  {
    item: "ACKs wait for a second segment, and less than 500 ms",
    source: "RFC 9293 3.8.6.3 (MUST-40, SHLD-18, SHLD-19)",
    tests: [
      "a second full segment is acknowledged at once",
      "a single segment is acknowledged soon, well below 500 ms",
      "a batch of segments is acknowledged once",
      "the answer carries the ACK, and none follows",
      "an ACK waits no longer after seven answers that carried one",
      "an ACK by itself ends a row of answers that carried one",
      "after eight of them an ACK waits longer, until one has waited in vain",
    ],
  },
  {
    item: "Nagle's algorithm is off",
    source: "RFC 9293 3.7.4 (MUST-17)",
    tests: ["small writes leave at once: Nagle's algorithm is off"],
  },
  {
    item: "keepalives are answered",
    source: "RFC 9293 3.8.4",
    tests: [
      "a keepalive is answered, with an octet and without one",
      "keepalives are answered and keep an idle connection",
    ],
  },
  {
    item: "path MTU, with a floor, from errors about what is in flight",
    source: "RFC 1191, RFC 8201, RFC 5927 7",
    tests: [
      "packet too big over IPv${family}: what is out goes again in segments that fit",
      "packet too big over IPv${family}: no error makes packets smaller than the floor",
      "packet too big over IPv${family}: only what quotes a segment in flight is believed",
      "packets that became too big while the window is large all go again",
      "a router that names no MTU means the next smaller size of RFC 1191",
    ],
  },
  {
    item: "soft errors end no connection",
    source: "RFC 9293 3.9.2.2 (MUST-56), RFC 5461",
    tests: [
      "soft errors over IPv${family} end no connection",
      "an opening that the guest's firewall rejects over IPv${family} has failed at once",
      "a held SYN is not touched by errors",
    ],
  },
  {
    item: "ECN and fast open are declined, and the connection is like any other",
    source: "RFC 3168 6.1.1, RFC 7413 3",
    tests: [
      "ECN and fast open are declined: the SYN counts without them",
      "data on a SYN is not taken: the guest sends it again",
    ],
  },
];
