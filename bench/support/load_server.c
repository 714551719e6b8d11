/*
 * The other end of load_client.c: servers on all addresses of the namespace where it runs.
 *
 *   load_server PORT COUNT
 *
 *   PORT .. PORT+COUNT-1    echo over TCP
 *   PORT                    echo over UDP
 *   PORT+COUNT              sends zeros as fast as they are taken
 *   PORT+COUNT+1            takes bytes and throws them away
 *
 * One thread, one epoll loop. It prints "listening" and ends with its standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES (256 * 1024)
#define UDP_BUFFER_BYTES (8 << 20)
#define EVENTS 256
#define BACKLOG 4096

/* What a descriptor is; the low bits of its epoll word hold the descriptor. */
enum role { OWNER, ECHO_LISTENER, SOURCE_LISTENER, SINK_LISTENER, ECHO, SOURCE, SINK, DATAGRAMS };

static int poller;
static uint8_t buffer[BUFFER_BYTES];
static const uint8_t zeros[BUFFER_BYTES];

static void fail(const char *what) {
  fprintf(stderr, "load_server: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void watch(int fd, enum role role, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u64 = (uint64_t)role << 32 | (uint32_t)fd};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

static void open_port(int family, int type, int port, enum role role) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
  socklen_t size = family == AF_INET ? sizeof v4 : sizeof v6;
  int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  if (fd < 0) fail("socket");
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  if (type == SOCK_STREAM) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  } else {
    int bytes = UDP_BUFFER_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
  }
  if (bind(fd, address, size) < 0) fail("bind");
  if (type == SOCK_STREAM && listen(fd, BACKLOG) < 0) fail("listen");
  watch(fd, role, EPOLLIN);
}

static void take_connections(int listener, enum role role) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && errno == EAGAIN) return;
    if (fd < 0 && (errno == ECONNABORTED || errno == EINTR)) continue;
    if (fd < 0) fail("accept");
    if (role == ECHO_LISTENER) watch(fd, ECHO, EPOLLIN);
    if (role == SOURCE_LISTENER) watch(fd, SOURCE, EPOLLOUT);
    if (role == SINK_LISTENER) watch(fd, SINK, EPOLLIN);
  }
}

/* The load echoes single octets: what the socket would not take at once ends the connection. */
static void serve(int fd, enum role role) {
  if (role == SOURCE) {
    ssize_t sent = send(fd, zeros, sizeof zeros, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) close(fd);
    return;
  }
  ssize_t count = recv(fd, buffer, sizeof buffer, 0);
  if (count < 0 && errno == EAGAIN) return;
  if (count <= 0 || (role == ECHO && send(fd, buffer, (size_t)count, MSG_NOSIGNAL) != count)) {
    close(fd);
  }
}

static void answer_datagrams(int fd) {
  for (;;) {
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    ssize_t count = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &size);
    if (count < 0) return; /* none left, or an ICMP error of a client that is gone */
    sendto(fd, buffer, (size_t)count, MSG_NOSIGNAL, (struct sockaddr *)&from, size);
  }
}

static void watch_owner(void) {
  if (read(STDIN_FILENO, buffer, sizeof buffer) <= 0) exit(0);
}

static void handle(uint64_t word) {
  int fd = (int)(uint32_t)word;
  enum role role = (enum role)(word >> 32);
  switch (role) {
    case OWNER: watch_owner(); return;
    case ECHO_LISTENER:
    case SOURCE_LISTENER:
    case SINK_LISTENER: take_connections(fd, role); return;
    case DATAGRAMS: answer_datagrams(fd); return;
    default: serve(fd, role);
  }
}

int main(int count, char **words) {
  if (count != 3) {
    fprintf(stderr, "usage: load_server PORT COUNT\n");
    return 2;
  }
  int first = atoi(words[1]), ports = atoi(words[2]);
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) fail("epoll_create1");
  const int families[] = {AF_INET, AF_INET6};
  for (int i = 0; i < 2; i++) {
    for (int port = 0; port < ports; port++) {
      open_port(families[i], SOCK_STREAM, first + port, ECHO_LISTENER);
    }
    open_port(families[i], SOCK_STREAM, first + ports, SOURCE_LISTENER);
    open_port(families[i], SOCK_STREAM, first + ports + 1, SINK_LISTENER);
    open_port(families[i], SOCK_DGRAM, first, DATAGRAMS);
  }
  watch(STDIN_FILENO, OWNER, EPOLLIN);
  puts("listening");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, -1);
    if (ready < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < ready; i++) handle(events[i].data.u64);
  }
}
