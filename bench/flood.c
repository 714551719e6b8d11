// A hostile guest: sends frames of one kind, RATE a second, or with 0 as many as the device
// takes.
//
//     flood KIND DEVICE GUEST_MAC GATEWAY_MAC GUEST_IP GATEWAY_IP PORT SECONDS RATE
//
// Runs in the guest's network namespace and writes Ethernet frames past the kernel's own TCP/IP
// (packet(7)). `early` and `crumbs` work on a connection that the kernel has opened to PORT: the
// one sends one-octet segments beyond the next number, the other one octet with each write.
// `syn-open` wants the namespace to let no RST to PORT out, since the kernel would answer each
// SYN-ACK with one. `syn-open6` and `nd` take IPv6 addresses: each SYN of the first comes from an
// address of the guest's /64 that was announced just before; the other asks for the gateway's
// address and announces such ones in turns.
// Prints how many frames the device took.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, FRAME = 128 };

static uint8_t frames[BATCH][FRAME];
static struct in_addr guest_ip, gateway_ip;
static uint8_t guest_ip6[16], gateway_ip6[16];
static uint8_t guest_mac[6], gateway_mac[6];
static uint32_t dice = 0x9e3779b9;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static uint32_t draw(void) {
  dice ^= dice << 13;
  dice ^= dice >> 17;
  dice ^= dice << 5;
  return dice;
}

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void put16(uint8_t *at, unsigned value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value) {
  put16(at, value >> 16);
  put16(at + 2, value & 0xffff);
}

static uint32_t sum(const uint8_t *at, unsigned bytes, uint32_t start) {
  for (unsigned i = 0; i + 1 < bytes; i += 2) start += (uint32_t)(at[i] << 8 | at[i + 1]);
  return bytes & 1 ? start + (uint32_t)(at[bytes - 1] << 8) : start;
}

static unsigned folded(uint32_t total) {
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return ~total & 0xffff;
}

static uint8_t *ethernet(uint8_t *frame, unsigned type) {
  memset(frame, 0, FRAME);
  memcpy(frame, gateway_mac, 6);
  memcpy(frame + 6, guest_mac, 6);
  put16(frame + 12, type);
  return frame + 14;
}

static uint8_t *ip4(uint8_t *at, unsigned protocol, unsigned payload_bytes, unsigned fragment) {
  at[0] = 0x45;
  put16(at + 2, 20 + payload_bytes);
  put16(at + 4, draw() & 0xffff);
  put16(at + 6, fragment);
  at[8] = 64;
  at[9] = (uint8_t)protocol;
  memcpy(at + 12, &guest_ip, 4);
  memcpy(at + 16, &gateway_ip, 4);
  put16(at + 10, folded(sum(at, 20, 0)));
  return at + 20;
}

static uint8_t *ip6(uint8_t *at, unsigned protocol, unsigned payload_bytes, const uint8_t *source) {
  at[0] = 0x60;
  put16(at + 4, payload_bytes);
  at[6] = (uint8_t)protocol;
  at[7] = 255; // what neighbor discovery asks for
  memcpy(at + 8, source, 16);
  memcpy(at + 24, gateway_ip6, 16);
  return at + 40;
}

// Both addresses of either family end where the L4 header begins.
static unsigned checked(const uint8_t *frame, uint8_t *l4, unsigned bytes, unsigned protocol,
                        unsigned checksum_at) {
  const unsigned addresses = frame[12] == 0x86 ? 32 : 8;
  const uint32_t pseudo = sum(l4 - addresses, addresses, protocol + bytes);
  put16(l4 + checksum_at, folded(sum(l4, bytes, pseudo)));
  return (unsigned)(l4 - frame) + bytes;
}

static unsigned segment(const uint8_t *frame, uint8_t *l4, unsigned from, unsigned to, uint32_t seq,
                        uint32_t ack, unsigned flags, unsigned data_bytes) {
  put16(l4, from);
  put16(l4 + 2, to);
  put32(l4 + 4, seq);
  put32(l4 + 8, ack);
  l4[12] = 0x50;
  l4[13] = (uint8_t)flags;
  put16(l4 + 14, 64000);
  memset(l4 + 20, 'x', data_bytes);
  return checked(frame, l4, 20 + data_bytes, 6, 16);
}

static unsigned tcp(uint8_t *frame, unsigned from, unsigned to, uint32_t seq, uint32_t ack,
                    unsigned flags, unsigned data_bytes) {
  uint8_t *l4 = ip4(ethernet(frame, 0x0800), 6, 20 + data_bytes, 0x4000);
  return segment(frame, l4, from, to, seq, ack, flags, data_bytes);
}

static unsigned udp(uint8_t *frame, unsigned from, unsigned to, const uint8_t *data, unsigned bytes) {
  uint8_t *l4 = ip4(ethernet(frame, 0x0800), 17, 8 + bytes, 0);
  put16(l4, from);
  put16(l4 + 2, to);
  put16(l4 + 4, 8 + bytes);
  memcpy(l4 + 8, data, bytes);
  return checked(frame, l4, 8 + bytes, 17, 6);
}

static unsigned ping(uint8_t *frame) {
  uint8_t *l4 = ip4(ethernet(frame, 0x0800), 1, 40, 0);
  l4[0] = 8;
  put32(l4 + 4, draw());
  put16(l4 + 2, folded(sum(l4, 40, 0)));
  return 34 + 40;
}

static unsigned question(uint8_t *frame) {
  static const char name[] = "\007invalid\000\000\001\000\001";
  uint8_t data[64] = {0};
  put16(data, draw() & 0xffff);
  data[2] = 1;
  data[5] = 1;
  data[12] = 8;
  for (int i = 0; i < 8; i++) data[13 + i] = (uint8_t)('a' + draw() % 26);
  memcpy(data + 21, name, sizeof name - 1);
  return udp(frame, 1024 + draw() % 60000, 53, data, 21 + sizeof name - 1);
}

static unsigned arp(uint8_t *frame) {
  uint8_t *at = ethernet(frame, 0x0806);
  put16(at, 1);
  put16(at + 2, 0x0800);
  at[4] = 6;
  at[5] = 4;
  put16(at + 6, 1);
  memcpy(at + 8, guest_mac, 6);
  memcpy(at + 14, &guest_ip, 4);
  memcpy(at + 24, &gateway_ip, 4);
  return 60;
}

enum { SOLICITATION = 135, ADVERTISEMENT = 136 };

static unsigned neighbor(uint8_t *frame, unsigned type, const uint8_t *source, const uint8_t *target) {
  uint8_t *l4 = ip6(ethernet(frame, 0x86dd), 58, 32, source);
  l4[0] = (uint8_t)type;
  l4[4] = type == ADVERTISEMENT ? 0x20 : 0;
  memcpy(l4 + 8, target, 16);
  l4[24] = type == ADVERTISEMENT ? 2 : 1;
  l4[25] = 1;
  memcpy(l4 + 26, guest_mac, 6);
  return checked(frame, l4, 32, 58, 2);
}

static void draw_address(uint8_t *address) {
  memcpy(address, guest_ip6, 8);
  put32(address + 8, draw());
  put32(address + 12, draw());
}

// The connection that `early` and `crumbs` work on, and its numbers.
static int connection = -1;
static unsigned own_port;
static uint32_t next_seq, next_ack;

static void open_connection(unsigned port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = gateway_ip};
  struct sockaddr_in self;
  socklen_t size = sizeof self;
  int on = 1, queue;
  connection = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(connection, (struct sockaddr *)&to, sizeof to)) die("connect");
  getsockname(connection, (struct sockaddr *)&self, &size);
  own_port = ntohs(self.sin_port);
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (setsockopt(connection, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on)) die("TCP_REPAIR");
  size = sizeof next_seq;
  queue = TCP_SEND_QUEUE;
  setsockopt(connection, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue);
  getsockopt(connection, IPPROTO_TCP, TCP_QUEUE_SEQ, &next_seq, &size);
  queue = TCP_RECV_QUEUE;
  setsockopt(connection, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof queue);
  getsockopt(connection, IPPROTO_TCP, TCP_QUEUE_SEQ, &next_ack, &size);
  on = TCP_REPAIR_OFF;
  setsockopt(connection, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on);
}

static unsigned build(const char *kind, uint8_t *frame, unsigned port, unsigned index) {
  static unsigned last_port;
  static uint32_t last_seq;
  static uint8_t address[16];
  if (!strcmp(kind, "inert")) return ethernet(frame, 0x88b5), 60;
  if (!strcmp(kind, "syn") || !strcmp(kind, "syn-open")) {
    return tcp(frame, 1024 + draw() % 64000, port, draw(), 0, 2, 0);
  }
  if (!strcmp(kind, "syn-open6") && (index & 1)) {
    uint8_t *l4 = ip6(ethernet(frame, 0x86dd), 6, 20, address);
    return segment(frame, l4, 1024 + draw() % 64000, port, draw(), 0, 2, 0);
  }
  if (!strcmp(kind, "nd") && (index & 1)) {
    return neighbor(frame, SOLICITATION, guest_ip6, gateway_ip6);
  }
  if (!strcmp(kind, "syn-open6") || !strcmp(kind, "nd")) {
    draw_address(address);
    return neighbor(frame, ADVERTISEMENT, address, address);
  }
  if (!strcmp(kind, "synrst")) {
    if (index & 1) return tcp(frame, last_port, port, last_seq + 1, 0, 4, 0);
    last_port = 1024 + draw() % 64000;
    last_seq = draw();
    return tcp(frame, last_port, port, last_seq, 0, 2, 0);
  }
  if (!strcmp(kind, "fragments")) return ip4(ethernet(frame, 0x0800), 17, 64, 0x2000), 34 + 64;
  if (!strcmp(kind, "pings")) return ping(frame);
  if (!strcmp(kind, "datagrams")) {
    return udp(frame, draw() & 0xffff, port, (const uint8_t *)"0123456789abcdef0123456789abcdef", 32);
  }
  if (!strcmp(kind, "questions")) return question(frame);
  if (!strcmp(kind, "arp")) return arp(frame);
  if (!strcmp(kind, "early")) {
    return tcp(frame, own_port, port, next_seq + 2 + 2 * (draw() % 15000), next_ack, 0x18, 1);
  }
  fprintf(stderr, "no such flood: %s\n", kind);
  exit(2);
}

// Whether the rate allows no more yet; waits a little then.
static int is_early(double start, unsigned long sent, double rate) {
  if (rate <= 0 || (double)sent < (now_s() - start) * rate) return 0;
  usleep(200);
  return 1;
}

// One octet with each write: the kernel makes a segment of each as long as the window lets it.
static unsigned long crumbs(double end, double rate) {
  unsigned long sent = 0;
  const double start = now_s();
  while (now_s() < end) {
    if (is_early(start, sent, rate)) continue;
    for (int i = 0; i < BATCH; i++) sent += send(connection, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
  }
  return sent;
}

static void parse_ip(const char *text, struct in_addr *four, uint8_t *six) {
  if (inet_pton(AF_INET, text, four) != 1 && inet_pton(AF_INET6, text, six) != 1) {
    fprintf(stderr, "no address: %s\n", text);
    exit(2);
  }
}

static void parse_mac(const char *text, uint8_t *mac) {
  if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6) {
    die("MAC");
  }
}

int main(int count, char **words) {
  if (count != 10) {
    fprintf(stderr, "usage: flood KIND DEVICE GUEST_MAC GATEWAY_MAC GUEST_IP GATEWAY_IP PORT SECONDS RATE\n");
    return 2;
  }
  const char *kind = words[1];
  parse_mac(words[3], guest_mac);
  parse_mac(words[4], gateway_mac);
  parse_ip(words[5], &guest_ip, guest_ip6);
  parse_ip(words[6], &gateway_ip, gateway_ip6);
  const unsigned port = (unsigned)atoi(words[7]);
  const double end = now_s() + atof(words[8]);
  const double rate = atof(words[9]);
  unsigned long sent = 0;

  if (!strcmp(kind, "early") || !strcmp(kind, "crumbs")) open_connection(port);
  if (!strcmp(kind, "crumbs")) {
    printf("%lu\n", crumbs(end, rate));
    return 0;
  }
  int raw = socket(AF_PACKET, SOCK_RAW, 0), on = 1;
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(words[2])};
  if (raw < 0 || bind(raw, (struct sockaddr *)&to, sizeof to)) die("packet socket");
  setsockopt(raw, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
  struct iovec parts[BATCH];
  struct mmsghdr batch[BATCH];
  memset(batch, 0, sizeof batch);
  for (int i = 0; i < BATCH; i++) {
    parts[i].iov_base = frames[i];
    batch[i].msg_hdr.msg_iov = &parts[i];
    batch[i].msg_hdr.msg_iovlen = 1;
  }
  const double start = now_s();
  while (now_s() < end) {
    if (is_early(start, sent, rate)) continue;
    for (int i = 0; i < BATCH; i++) parts[i].iov_len = build(kind, frames[i], port, (unsigned)i);
    int n = sendmmsg(raw, batch, BATCH, 0);
    if (n > 0) sent += (unsigned long)n;
    // The device's queue is full: the guest's honest flow needs the processor too.
    if (n < BATCH) usleep(50);
  }
  printf("%lu\n", sent);
  return 0;
}
