/*
 * A kernel's TCP as the peer of a packet script: a network namespace of its own with one tap
 * device, whose frames come and go on the standard streams, and the sockets of a tiny application
 * that does only what it is told.
 *
 *   kernel_peer PEER_MAC GUEST_MAC PEER4 GUEST4 PEER6 GUEST6 MTU
 *
 * Every message is a 4-byte big-endian length and then so many bytes, the first of which says what
 * it is. To here: the verb, two bytes with the guest's port, the rest. From here: `f` with a frame
 * of the kernel's, or `d` when a verb is done, with a 4-byte result (a count, or -errno) and what
 * was asked for. What the kernel sends in direct answer comes before the verb's `d`: writing to a
 * tap runs the stack to its end.
 *
 * The namespace ends with the process, and the process with its standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../support/tap.h"

#define MESSAGE_MAX_BYTES (2u << 20)
#define FRAME_MAX_BYTES 65550u
#define HEAD_BYTES 3u
#define SEND_BUFFER_BYTES (4 << 20)
#define PEER_PORT 80
#define FLOWS 16

/* A connection, known by the guest's port; `handle` is -1 where there is none. */
struct flow {
  uint16_t guest_port;
  int handle;
};

static struct flow flows[FLOWS];
static unsigned flow_count;
static int tap, listening = -1;
static const char *peer4, *guest4, *peer6, *guest6;
static uint8_t message[MESSAGE_MAX_BYTES], answer[MESSAGE_MAX_BYTES];

static void fail(const char *what) {
  fprintf(stderr, "kernel_peer: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void write_all(const void *bytes, size_t count) {
  const uint8_t *at = bytes;
  while (count > 0) {
    ssize_t done = write(STDOUT_FILENO, at, count);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) exit(0); /* whoever listened is gone */
    at += done;
    count -= (size_t)done;
  }
}

static void say(char kind, const void *head, size_t head_bytes, const void *rest, size_t bytes) {
  uint8_t prefix[5];
  uint32_t length = htonl((uint32_t)(1 + head_bytes + bytes));
  memcpy(prefix, &length, 4);
  prefix[4] = (uint8_t)kind;
  write_all(prefix, sizeof prefix);
  write_all(head, head_bytes);
  write_all(rest, bytes);
}

/* Reads exactly `count` bytes; the end of the stream is the end of the process. */
static void read_all(uint8_t *at, size_t count) {
  while (count > 0) {
    ssize_t done = read(STDIN_FILENO, at, count);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) exit(0);
    at += done;
    count -= (size_t)done;
  }
}

/* Hands on what the kernel has sent so far. */
static void take_frames(void) {
  static uint8_t frame[FRAME_MAX_BYTES];
  for (;;) {
    ssize_t length = read(tap, frame, sizeof frame);
    if (length <= 0) return;
    say('f', NULL, 0, frame, (size_t)length);
  }
}

/* ---- The namespace -------------------------------------------------------------------------- */

/* A switch that this kernel lacks, or gives to no namespace, stays as it is. */
static void set(const char *name, const char *value) {
  char path[256];
  snprintf(path, sizeof path, "/proc/sys/net/%s", name);
  FILE *file = fopen(path, "w");
  if (file == NULL) return;
  fputs(value, file);
  fclose(file);
}

static void set_switches(void) {
  set("ipv6/conf/default/accept_ra", "0");
  set("ipv6/conf/default/addr_gen_mode", "1");
  set("ipv6/conf/default/router_solicitations", "0");
  /* What is tried is what each flow's segments get, not how often a minute all of them. */
  set("ipv4/tcp_challenge_ack_limit", "2147483647");
  /* Whatever it remembers of this peer belongs to another script. */
  set("ipv4/tcp_no_metrics_save", "1");
  /* The choices that the gateway makes, where Linux leaves them open. */
  set("ipv4/tcp_ecn", "0");
  set("ipv4/tcp_fastopen", "0");
  set("ipv4/tcp_rfc1337", "1");
  set("ipv4/tcp_congestion_control", "cubic");
  /* One ACK for each segment that asks for one: no gathering. */
  set("ipv4/tcp_comp_sack_nr", "0");
  set("ipv4/tcp_backlog_ack_defer", "0");
}

static void configure(char **words) {
  FILE *ip = popen("ip -batch -", "w");
  if (ip == NULL) fail("ip");
  fprintf(ip, "link set lo up\nlink set tap0 address %s mtu %s txqueuelen 5000 up\n", words[1],
          words[7]);
  fprintf(ip, "addr add %s/32 dev tap0\nroute add %s dev tap0\n", peer4, guest4);
  fprintf(ip, "neigh replace %s lladdr %s dev tap0 nud permanent\n", guest4, words[2]);
  fprintf(ip, "addr add %s/128 dev tap0 nodad\nroute add %s dev tap0\n", peer6, guest6);
  fprintf(ip, "neigh replace %s lladdr %s dev tap0 nud permanent\n", guest6, words[2]);
  if (pclose(ip) != 0) {
    fprintf(stderr, "kernel_peer: ip has failed\n");
    exit(1);
  }
}

/* ---- The application ------------------------------------------------------------------------ */

static struct flow *find(uint16_t guest_port) {
  for (unsigned i = 0; i < flow_count; i++) {
    if (flows[i].guest_port == guest_port) return &flows[i];
  }
  return NULL;
}

/* A flow's socket is this one from now on. */
static void keep(uint16_t guest_port, int handle) {
  struct flow *flow = find(guest_port);
  if (flow == NULL) {
    if (flow_count == FLOWS) exit(4);
    flow = &flows[flow_count++];
    flow->guest_port = guest_port;
  } else if (flow->handle >= 0) {
    close(flow->handle);
  }
  flow->handle = handle;
}

static void set_number(int handle, int level, int name, int value) {
  if (setsockopt(handle, level, name, &value, sizeof value) < 0) fail("setsockopt");
}

/* Nagle's algorithm off, ACKs that may wait for data, urgent octets in line. */
static void prepare(int handle) {
  set_number(handle, IPPROTO_TCP, TCP_NODELAY, 1);
  set_number(handle, IPPROTO_TCP, TCP_QUICKACK, 0);
  set_number(handle, SOL_SOCKET, SO_OOBINLINE, 1);
  set_number(handle, SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES);
}

static socklen_t address_of(struct sockaddr_storage *out, int family, const char *text, int port) {
  memset(out, 0, sizeof *out);
  if (family == 4) {
    struct sockaddr_in *a = (struct sockaddr_in *)out;
    a->sin_family = AF_INET;
    a->sin_port = htons((uint16_t)port);
    inet_pton(AF_INET, text, &a->sin_addr);
    return sizeof *a;
  }
  struct sockaddr_in6 *a = (struct sockaddr_in6 *)out;
  a->sin6_family = AF_INET6;
  a->sin6_port = htons((uint16_t)port);
  inet_pton(AF_INET6, text, &a->sin6_addr);
  return sizeof *a;
}

/* A socket with the peer's address and port; a receive buffer of so many bytes unless 0. */
static int bound(int family, int receive_bytes) {
  int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  int handle = socket(family == 4 ? AF_INET : AF_INET6, type, 0);
  if (handle < 0) fail("socket");
  set_number(handle, SOL_SOCKET, SO_REUSEADDR, 1);
  if (receive_bytes > 0) set_number(handle, SOL_SOCKET, SO_RCVBUF, receive_bytes);
  struct sockaddr_storage address;
  socklen_t size = address_of(&address, family, family == 4 ? peer4 : peer6, PEER_PORT);
  if (bind(handle, (struct sockaddr *)&address, size) < 0) fail("bind");
  return handle;
}

static void listen_once(int family, int receive_bytes) {
  if (listening >= 0) return;
  listening = bound(family, receive_bytes);
  if (listen(listening, FLOWS) < 0) fail("listen");
}

static void accept_all(void) {
  for (;;) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (listening < 0) return;
    int handle = accept4(listening, (struct sockaddr *)&address, &size, SOCK_NONBLOCK);
    if (handle < 0) return;
    prepare(handle);
    /* The port stands at the same place in both families. */
    keep(ntohs(((struct sockaddr_in *)&address)->sin_port), handle);
  }
}

static void connect_to(int family, uint16_t guest_port, int receive_bytes) {
  int handle = bound(family, receive_bytes);
  prepare(handle);
  struct sockaddr_storage address;
  socklen_t size = address_of(&address, family, family == 4 ? guest4 : guest6, guest_port);
  if (connect(handle, (struct sockaddr *)&address, size) < 0 && errno != EINPROGRESS) {
    fail("connect");
  }
  keep(guest_port, handle);
}

/* Closes so that an RST goes out: unread octets do that by themselves. */
static int reset(struct flow *flow) {
  int unread = 0;
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  ioctl(flow->handle, SIOCINQ, &unread);
  if (unread == 0 && setsockopt(flow->handle, SOL_SOCKET, SO_LINGER, &now, sizeof now) < 0) {
    fail("SO_LINGER");
  }
  int result = close(flow->handle);
  flow->handle = -1;
  return result;
}

static size_t read_table(int family) {
  FILE *file = fopen(family == 4 ? "/proc/thread-self/net/tcp" : "/proc/thread-self/net/tcp6", "r");
  if (file == NULL) fail("/proc/thread-self/net");
  size_t bytes = fread(answer, 1, sizeof answer, file);
  fclose(file);
  return bytes;
}

static int socket_error(int handle) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(handle, SOL_SOCKET, SO_ERROR, &error, &size) < 0) fail("SO_ERROR");
  return error;
}

static int number_at(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return (int)ntohl(value);
}

/* Does what a message says; the bytes of the answer go to `bytes`. */
static int perform(char verb, uint16_t guest_port, const uint8_t *rest, size_t count,
                   size_t *bytes) {
  struct flow *flow = find(guest_port);
  int handle = flow == NULL ? -1 : flow->handle;
  ssize_t done = 0;
  switch (verb) {
  case 'f':
    done = write(tap, rest, count);
    break;
  case 'l':
    listen_once(rest[0], number_at(rest + 1));
    return 0;
  case 'c':
    connect_to(rest[0], guest_port, number_at(rest + 1));
    return 0;
  case 't':
    *bytes = read_table(rest[0]);
    return 0;
  case 's':
    done = send(handle, rest, count, MSG_NOSIGNAL);
    break;
  case 'x':
    done = shutdown(handle, SHUT_WR);
    break;
  case 'r':
    done = recv(handle, answer, (size_t)number_at(rest), 0);
    *bytes = done > 0 ? (size_t)done : 0;
    break;
  case 'a':
    done = flow == NULL ? 0 : reset(flow);
    break;
  case 'e':
    return handle < 0 ? -EBADF : socket_error(handle);
  default:
    return -EINVAL;
  }
  return done < 0 ? -errno : (int)done;
}

static void take_message(void) {
  uint8_t prefix[4];
  read_all(prefix, sizeof prefix);
  uint32_t length = (uint32_t)number_at(prefix);
  if (length < HEAD_BYTES || length > sizeof message) exit(3);
  read_all(message, length);
  uint16_t guest_port = (uint16_t)(message[1] << 8 | message[2]);
  size_t bytes = 0;
  int result = perform((char)message[0], guest_port, message + HEAD_BYTES, length - HEAD_BYTES,
                       &bytes);
  take_frames();
  accept_all();
  uint32_t number = htonl((uint32_t)result);
  say('d', &number, sizeof number, answer, bytes);
}

int main(int count, char **words) {
  if (count != 8) {
    fprintf(stderr, "usage: kernel_peer PEER_MAC GUEST_MAC PEER4 GUEST4 PEER6 GUEST6 MTU\n");
    return 2;
  }
  peer4 = words[3], guest4 = words[4], peer6 = words[5], guest6 = words[6];
  if (unshare(CLONE_NEWNET) < 0) fail("unshare");
  set_switches();
  tap = open_tap("tap0");
  configure(words);
  for (;;) {
    struct pollfd ready[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                              {.fd = tap, .events = POLLIN}};
    if (poll(ready, 2, -1) < 0 && errno != EINTR) fail("poll");
    if (ready[1].revents & POLLIN) take_frames();
    if (ready[0].revents) take_message();
  }
}
