/*
 * Joins a tap device to a gateway's frame stream, so that a network namespace is a guest: its
 * kernel's packets leave through the tap, and what a VMM would write on its socket is written here.
 *
 *   tap_bridge NAMESPACE TAP connect|listen unix:PATH|tcp:PORT [vnet|strip]
 *
 * Stream format: 4-byte big-endian length, then one Ethernet frame. With a fifth word the guest's
 * kernel leaves checksums and the cutting of TCP to the tap, and takes as much from it: its frames
 * have a virtio-net header, and are up to 64 KiB long. "vnet" carries that header in the stream, in
 * front of each frame and counted by its length. "strip" loses it, as some VMMs do, and hands the
 * kernel what comes as it is.
 *
 * "joined" on standard output says that both ends are open. The process ends when the gateway closes, and when its standard
 * input ends: whoever started it is gone then, and a bridge must not outlive its test.
 *
 * One thread, one poll loop, a bounded buffer each way. A side that can't take more stops being
 * read from at the other side, so a slow gateway fills the tap's queue, as it fills a VM's ring.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "../support/tap.h"

#define HEADER_BYTES 4u
#define ETHERNET_BYTES 14u
#define FRAME_MAX_BYTES 65550u
#define VNET_BYTES 12
#define BUFFER_BYTES (1u << 20)
#define SOCKET_BUFFER_BYTES (4 << 20)

/* Bytes between `from` and `to` wait for the other side. */
struct buffer {
  uint8_t bytes[BUFFER_BYTES];
  size_t from, to;
};

static struct buffer to_gateway, to_guest;

/* Bytes of virtio-net header that a frame has in the stream, and those that only the tap sees. */
static size_t carried, lost;

static void fail(const char *what) {
  fprintf(stderr, "tap_bridge: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* The largest entry of the stream. */
static size_t entry_max(void) { return HEADER_BYTES + carried + FRAME_MAX_BYTES; }

static size_t room(const struct buffer *b) { return BUFFER_BYTES - b->to; }

static void compact(struct buffer *b) {
  if (b->from == 0) return;
  memmove(b->bytes, b->bytes + b->from, b->to - b->from);
  b->to -= b->from;
  b->from = 0;
}

/* The gateway's socket: ours connects to it, or ours listens and takes the first that comes. */
static int open_stream(const char *endpoint, int listening) {
  struct sockaddr_un path = {.sun_family = AF_UNIX};
  struct sockaddr_in port = {.sin_family = AF_INET};
  struct sockaddr *address;
  socklen_t size;
  if (strncmp(endpoint, "unix:", 5) == 0) {
    if (strlen(endpoint + 5) >= sizeof path.sun_path) {
      errno = ENAMETOOLONG;
      fail(endpoint);
    }
    strcpy(path.sun_path, endpoint + 5);
    address = (struct sockaddr *)&path;
    size = sizeof path;
  } else if (strncmp(endpoint, "tcp:", 4) == 0) {
    port.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    port.sin_port = htons((uint16_t)atoi(endpoint + 4));
    address = (struct sockaddr *)&port;
    size = sizeof port;
  } else {
    errno = EINVAL;
    fail(endpoint);
  }
  int stream = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (stream < 0) fail("socket");
  if (listening) {
    int one = 1;
    setsockopt(stream, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(stream, address, size) < 0 || listen(stream, 1) < 0) fail(endpoint);
    int accepted = accept(stream, NULL, NULL);
    if (accepted < 0) fail("accept");
    close(stream);
    stream = accepted;
  } else if (connect(stream, address, size) < 0) {
    fail(endpoint);
  }
  int one = 1, bytes = SOCKET_BUFFER_BYTES;
  if (address->sa_family == AF_INET) {
    setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  } else if (setsockopt(stream, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0) {
    fail("SO_SNDBUFFORCE");
  }
  if (fcntl(stream, F_SETFL, O_NONBLOCK) < 0) fail("O_NONBLOCK");
  return stream;
}

/* Takes frames from the kernel until it has none or the buffer has no room for a largest one. */
static void read_tap(int tap) {
  compact(&to_gateway);
  while (room(&to_gateway) >= entry_max()) {
    uint8_t *at = to_gateway.bytes + to_gateway.to;
    uint8_t header[VNET_BYTES];
    struct iovec parts[2] = {{header, lost}, {at + HEADER_BYTES, carried + FRAME_MAX_BYTES}};
    ssize_t length = readv(tap, lost ? parts : parts + 1, lost ? 2 : 1);
    if (length < 0 && (errno == EAGAIN || errno == EIO)) return; /* EIO: the link is down */
    length -= (ssize_t)lost;
    if (length <= 0) fail("tap read");
    uint32_t prefix = htonl((uint32_t)length);
    memcpy(at, &prefix, HEADER_BYTES);
    to_gateway.to += HEADER_BYTES + (size_t)length;
  }
}

static void write_stream(int stream) {
  ssize_t count = send(stream, to_gateway.bytes + to_gateway.from,
                       to_gateway.to - to_gateway.from, MSG_NOSIGNAL);
  if (count < 0 && errno == EAGAIN) return;
  if (count < 0) fail("stream write");
  to_gateway.from += (size_t)count;
}

/* Hands whole frames to the kernel; returns whether it would take no more just now. */
static int write_tap(int tap) {
  for (;;) {
    size_t have = to_guest.to - to_guest.from;
    if (have < HEADER_BYTES) return 0;
    const uint8_t *at = to_guest.bytes + to_guest.from;
    uint32_t length;
    memcpy(&length, at, HEADER_BYTES);
    length = ntohl(length);
    if (length < carried + ETHERNET_BYTES || length > carried + FRAME_MAX_BYTES) {
      fprintf(stderr, "tap_bridge: the gateway sent a frame of %u bytes\n", length);
      exit(3);
    }
    if (have < HEADER_BYTES + length) return 0;
    static uint8_t nothing_to_do[VNET_BYTES];
    struct iovec parts[2] = {{nothing_to_do, lost}, {(void *)(at + HEADER_BYTES), length}};
    if (writev(tap, lost ? parts : parts + 1, lost ? 2 : 1) < 0) {
      if (errno == EAGAIN) return 1;
      /* What the kernel refuses (longer than the MTU, link down) is lost, as on a wire. */
      if (errno != EINVAL && errno != EIO && errno != ENOBUFS) fail("tap write");
    }
    to_guest.from += HEADER_BYTES + length;
  }
}

static void read_stream(int stream) {
  compact(&to_guest);
  if (room(&to_guest) == 0) return;
  ssize_t count = read(stream, to_guest.bytes + to_guest.to, room(&to_guest));
  if (count < 0 && errno == EAGAIN) return;
  if (count < 0) fail("stream read");
  if (count == 0) {
    fprintf(stderr, "tap_bridge: the gateway closed the stream\n");
    exit(0);
  }
  to_guest.to += (size_t)count;
}

static void watch_owner(void) {
  char discarded[64];
  ssize_t count = read(STDIN_FILENO, discarded, sizeof discarded);
  if (count == 0 || (count < 0 && errno != EAGAIN)) exit(0);
}

static void carry(int tap, int stream) {
  int tap_is_full = 0;
  for (;;) {
    compact(&to_gateway);
    compact(&to_guest);
    int can_take = room(&to_gateway) >= entry_max();
    int must_send = to_gateway.to > to_gateway.from;
    int can_receive = !tap_is_full && room(&to_guest) > 0;
    struct pollfd ready[3] = {
        {.fd = tap, .events = (short)((can_take ? POLLIN : 0) | (tap_is_full ? POLLOUT : 0))},
        {.fd = stream, .events = (short)((can_receive ? POLLIN : 0) | (must_send ? POLLOUT : 0))},
        {.fd = STDIN_FILENO, .events = POLLIN},
    };
    if (poll(ready, 3, -1) < 0) {
      if (errno == EINTR) continue;
      fail("poll");
    }
    if (ready[2].revents) watch_owner();
    if (ready[0].revents & POLLIN) read_tap(tap);
    if (to_gateway.to > to_gateway.from) write_stream(stream);
    if (ready[1].revents & (POLLIN | POLLHUP | POLLERR)) read_stream(stream);
    tap_is_full = write_tap(tap);
  }
}

/* A tap whose kernel leaves sums and the cutting of TCP to it, and takes as much. */
static int open_offloading_tap(const char *name) {
  int tap = open_tap_with(name, IFF_VNET_HDR), bytes = VNET_BYTES;
  if (ioctl(tap, TUNSETVNETHDRSZ, &bytes) < 0) fail("TUNSETVNETHDRSZ");
  if (ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN) < 0) {
    fail("TUNSETOFFLOAD");
  }
  return tap;
}

int main(int count, char **words) {
  int listening = count >= 5 && strcmp(words[3], "listen") == 0;
  if (count == 6 && strcmp(words[5], "vnet") == 0) carried = VNET_BYTES;
  if (count == 6 && strcmp(words[5], "strip") == 0) lost = VNET_BYTES;
  int offloads = carried + lost > 0;
  if (count != 5 + offloads || (!listening && strcmp(words[3], "connect") != 0)) {
    fprintf(stderr, "usage: tap_bridge NAMESPACE TAP connect|listen unix:PATH|tcp:PORT "
                    "[vnet|strip]\n");
    return 2;
  }
  int stream = open_stream(words[4], listening);
  enter(words[1]);
  int tap = offloads ? open_offloading_tap(words[2]) : open_tap(words[2]);
  puts("joined");
  fflush(stdout);
  carry(tap, stream);
}
