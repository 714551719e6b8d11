/*
 * Both ends of the traffic that gateways are compared by. Each role is a process of its own, so
 * that one never waits for another; what it counted is asked for while it runs.
 *
 *   traffic echo PORT                       TCP: gives back what it gets
 *   traffic source PORT                     TCP: sends zeros as fast as they are taken
 *   traffic sink PORT                       TCP: counts bytes and throws them away
 *   traffic udp-sink PORT                   counts datagrams
 *   traffic udp-source RATE BYTES PORT      datagrams to whom it heard from in the last half second
 *   traffic dns PORT                        answers every A question with 192.0.2.1
 *
 *   traffic pull STREAMS HOST PORT          reads from a source, counts bytes
 *   traffic push STREAMS HOST PORT          writes to a sink
 *   traffic rr HOST PORT                    one octet there and back, in turn, on one connection
 *   traffic crr HOST PORT                   connect, one octet there and back, close
 *   traffic udp-push RATE BYTES HOST PORT   sends datagrams to a udp-sink
 *   traffic udp-pull HOST PORT              calls on a udp-source, counts datagrams
 *   traffic ask WINDOW HOST PORT            DNS questions, WINDOW of them in flight
 *
 * It prints "ready" once it listens or all its streams are connected. "begin" on standard input
 * sets what was counted to zero, "count" prints it as a line of JSON, the end of standard input
 * ends the process. One thread obeys, the other one works; what they share are atomic counters.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "traffic_counts.h"

#define BUFFER_BYTES (256 * 1024)
#define UDP_BUFFER_BYTES (4 << 20)
#define EVENTS 64
#define BACKLOG 4096
#define CONNECT_MS 10000
#define CONNECTING_AT_ONCE 8
#define TURN_SECONDS 5
#define CALL_NS 100000000LL
#define CALL_LASTS_NS 500000000LL
#define BURST 32
#define DNS_SOCKETS 8
#define DNS_WINDOW_MAX 1024
#define DNS_LOST_NS 1000000000LL

static uint8_t buffer[BUFFER_BYTES];

static struct sockaddr_in address_of(const char *host, const char *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
    errno = EINVAL;
    fail(host);
  }
  return address;
}

static void set_nodelay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static int open_server(int type, const char *port) {
  struct sockaddr_in address = address_of("0.0.0.0", port);
  int one = 1, bytes = UDP_BUFFER_BYTES, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  if (type == SOCK_STREAM) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (type == SOCK_DGRAM) setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
  if (type == SOCK_STREAM && listen(fd, BACKLOG) < 0) fail("listen");
  return fd;
}

static int open_udp(const char *host, const char *port, int flags) {
  struct sockaddr_in address = address_of(host, port);
  int bytes = UDP_BUFFER_BYTES, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | flags, 0);
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
  return fd;
}

static void watch(int poller, int how, int fd, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(poller, how, fd, &event) < 0) fail("epoll_ctl");
}

/* -- TCP servers -- */

enum role { ECHO, SOURCE, SINK };

/* Moves what one stream has or takes; returns whether it goes on. */
static int serve_stream(int fd, enum role role) {
  if (role == SOURCE) {
    ssize_t sent = send(fd, buffer, sizeof buffer, MSG_NOSIGNAL);
    return sent > 0 || (sent < 0 && errno == EAGAIN);
  }
  ssize_t got = recv(fd, buffer, sizeof buffer, 0);
  if (got < 0 && errno == EAGAIN) return 1;
  if (got <= 0) return 0;
  if (role == SINK) add(&bytes_moved, (uint64_t)got);
  return role == SINK || send(fd, buffer, (size_t)got, MSG_NOSIGNAL) == got;
}

static void serve(enum role role, const char *port) {
  int listener = open_server(SOCK_STREAM, port), poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0 || fcntl(listener, F_SETFL, O_NONBLOCK) < 0) fail("epoll");
  watch(poller, EPOLL_CTL_ADD, listener, EPOLLIN);
  say_ready();
  for (;;) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if (fd != listener) {
        if (!serve_stream(fd, role)) close(fd);
        continue;
      }
      int stream = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (stream < 0 && (errno == EMFILE || errno == ENFILE)) fail("accept");
      if (stream < 0) continue;
      set_nodelay(stream);
      watch(poller, EPOLL_CTL_ADD, stream, role == SOURCE ? EPOLLOUT : EPOLLIN);
    }
  }
}

/* -- TCP clients -- */

/*
 * What a stream has not sent ends with it. Else the kernel would keep it for minutes once nobody
 * takes it any more, and of a thousand streams that is memory which the rows after it lack.
 */
static void reset_at_end(int fd) {
  struct linger none = {.l_onoff = 1, .l_linger = 0};
  if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none) < 0) fail("SO_LINGER");
}

/* Connects all streams, a few at a time: what they move is measured, not how they come. */
static void connect_all(int poller, int *fds, int streams, const struct sockaddr_in *address) {
  int64_t until_ns = now_ns() + CONNECT_MS * 1000000LL;
  for (int started = 0, connected = 0; connected < streams;) {
    while (started < streams && started - connected < CONNECTING_AT_ONCE) {
      int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd < 0) fail("socket");
      int result = connect(fd, (const struct sockaddr *)address, sizeof *address);
      if (result < 0 && errno != EINPROGRESS) fail("connect");
      watch(poller, EPOLL_CTL_ADD, fd, EPOLLOUT);
      fds[started++] = fd;
    }
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, 100);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd, error = 0;
      socklen_t size = sizeof error;
      getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
      if ((errno = error) != 0) fail("connect");
      watch(poller, EPOLL_CTL_MOD, fd, 0);
      connected++;
    }
    if (connected < streams && now_ns() > until_ns) {
      fprintf(stderr, "traffic: %d of %d streams connected in %d s\n", connected, streams,
              CONNECT_MS / 1000);
      exit(1);
    }
  }
}

static void run_streams(int streams, const char *host, const char *port, int is_push) {
  struct sockaddr_in address = address_of(host, port);
  int poller = epoll_create1(EPOLL_CLOEXEC), *fds = calloc((size_t)streams, sizeof *fds);
  if (poller < 0 || fds == NULL) fail("epoll");
  connect_all(poller, fds, streams, &address);
  for (int i = 0; i < streams; i++) {
    reset_at_end(fds[i]);
    watch(poller, EPOLL_CTL_MOD, fds[i], is_push ? EPOLLOUT : EPOLLIN);
  }
  say_ready();
  for (;;) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      ssize_t moved = is_push ? send(fd, buffer, sizeof buffer, MSG_NOSIGNAL)
                              : recv(fd, buffer, sizeof buffer, 0);
      if (moved < 0 && errno == EAGAIN) continue;
      if (moved == 0) errno = ECONNRESET;
      if (moved <= 0) fail("a stream ended");
      add(&bytes_moved, (uint64_t)moved);
    }
  }
}

/* A blocking stream none of whose calls waits forever; -1 where it could not connect. */
static int connect_one(const struct sockaddr_in *address) {
  struct timeval limit = {.tv_sec = TURN_SECONDS};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  set_nodelay(fd);
  if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0) return fd;
  close(fd);
  return -1;
}

static int take_turn(int fd) {
  char octet = 'x';
  return send(fd, &octet, 1, MSG_NOSIGNAL) == 1 && recv(fd, &octet, 1, 0) == 1;
}

static void run_rr(const char *host, const char *port) {
  struct sockaddr_in address = address_of(host, port);
  int fd = connect_one(&address);
  if (fd < 0) fail("connect");
  say_ready();
  for (;;) {
    int64_t from_ns = now_ns();
    if (!take_turn(fd)) fail("request/response");
    keep_duration(now_ns() - from_ns);
    add(&units, 1);
  }
}

static void run_crr(const char *host, const char *port) {
  struct sockaddr_in address = address_of(host, port);
  say_ready();
  for (;;) {
    int64_t from_ns = now_ns();
    int fd = connect_one(&address), is_done = fd >= 0 && take_turn(fd);
    if (fd >= 0) close(fd);
    if (is_done) {
      keep_duration(now_ns() - from_ns);
    } else {
      usleep(1000); /* a refusal is quick, and a loop of them would be the load */
    }
    add(is_done ? &units : &failures, 1);
  }
}

/* -- datagrams -- */

/* What is due of a rate since `from_ns`, at most one burst; sleeps where nothing is. */
static int due(int64_t from_ns, int64_t *sent, int rate) {
  int64_t owed = (int64_t)((double)(now_ns() - from_ns) * rate / 1e9) - *sent;
  if (owed <= 0) {
    usleep(50);
    return 0;
  }
  if (owed > rate / 10) *sent += owed - BURST; /* what was not sent in time is not made up for */
  *sent += owed < BURST ? owed : BURST;
  return owed < BURST ? (int)owed : BURST;
}

static void run_udp_push(int rate, size_t size, const char *host, const char *port) {
  int fd = open_udp(host, port, 0);
  int64_t from_ns = now_ns(), sent = 0;
  say_ready();
  for (;;) {
    for (int left = due(from_ns, &sent, rate); left > 0; left--) send(fd, buffer, size, 0);
  }
}

static void run_udp_source(int rate, size_t size, const char *port) {
  int fd = open_server(SOCK_DGRAM, port);
  struct sockaddr_in caller;
  socklen_t caller_size = sizeof caller;
  say_ready();
  for (int64_t from_ns = 0, heard_ns = 0, sent = 0;;) {
    uint8_t call[16];
    int is_calm = now_ns() - heard_ns > CALL_LASTS_NS;
    caller_size = sizeof caller;
    if (recvfrom(fd, call, sizeof call, is_calm ? 0 : MSG_DONTWAIT, (struct sockaddr *)&caller,
                 &caller_size) > 0) {
      heard_ns = now_ns();
      if (is_calm) {
        from_ns = heard_ns;
        sent = 0;
      }
    }
    if (now_ns() - heard_ns > CALL_LASTS_NS) continue;
    for (int left = due(from_ns, &sent, rate); left > 0; left--) {
      sendto(fd, buffer, size, 0, (struct sockaddr *)&caller, sizeof caller);
    }
  }
}

static void count_datagrams(int fd, int calls) {
  struct timeval limit = {.tv_usec = CALL_NS / 1000};
  if (calls) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  say_ready();
  for (int64_t called_ns = 0;;) {
    if (calls && now_ns() - called_ns > CALL_NS) {
      send(fd, "call", 4, 0);
      called_ns = now_ns();
    }
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got < 0) continue;
    add(&units, 1);
    add(&bytes_moved, (uint64_t)got);
  }
}

/* -- DNS -- */

static const uint8_t ANSWER[] = "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1";

/* Turns the question in `message` into its answer; returns the length, 0 for what is none. */
static size_t answer_question(uint8_t *message, size_t length) {
  size_t at = 12;
  if (length < 17 || (message[2] & 0x80) != 0) return 0;
  while (at < length && message[at] != 0) at += message[at] + 1u;
  if (at + 5 > length) return 0;
  int is_a = message[at + 1] == 0 && message[at + 2] == 1;
  memcpy(message + 2, "\x81\x80\0\1\0\0\0\0\0\0", 10);
  message[7] = (uint8_t)is_a;
  if (is_a) memcpy(message + at + 5, ANSWER, sizeof ANSWER - 1);
  return at + 5 + (is_a ? sizeof ANSWER - 1 : 0);
}

static void run_dns(const char *port) {
  int fd = open_server(SOCK_DGRAM, port);
  say_ready();
  for (;;) {
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    ssize_t got = recvfrom(fd, buffer, 512, 0, (struct sockaddr *)&from, &size);
    size_t length = got < 0 ? 0 : answer_question(buffer, (size_t)got);
    if (length > 0) sendto(fd, buffer, length, 0, (struct sockaddr *)&from, size);
    add(&units, length > 0);
  }
}

/* A question in flight; its number in the window is the low part of its id. */
struct question {
  int64_t sent_ns;
  uint16_t id;
};

static struct question questions[DNS_WINDOW_MAX];

/* Asks for a name that nobody asked for before, so that no cache answers. */
static void ask(int fd, size_t place, size_t window) {
  static uint32_t serial;
  uint8_t message[64] = {0, 0, 1, 0, 0, 1};
  struct question *question = &questions[place];
  question->id = (uint16_t)((serial * window + place) % (65536 / window * window));
  message[0] = (uint8_t)(question->id >> 8);
  message[1] = (uint8_t)question->id;
  snprintf((char *)message + 12, 10, "%cq%07x", 8, serial++ & 0xfffffff);
  memcpy(message + 21, "\5bench\7example\0\0\1\0\1", 19);
  question->sent_ns = now_ns();
  send(fd, message, 40, 0);
}

static void take_answer(int fd, size_t window, size_t socket_number) {
  ssize_t got = recv(fd, buffer, 512, 0);
  if (got < 12) return;
  uint16_t id = (uint16_t)(buffer[0] << 8 | buffer[1]);
  size_t place = id % window;
  if (questions[place].id != id || place % DNS_SOCKETS != socket_number) return;
  int is_answer = (buffer[3] & 15) == 0 && buffer[7] > 0;
  if (is_answer) keep_duration(now_ns() - questions[place].sent_ns);
  add(is_answer ? &units : &failures, 1);
  ask(fd, place, window);
}

static void run_ask(size_t window, const char *host, const char *port) {
  int fds[DNS_SOCKETS], poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) fail("epoll");
  for (int i = 0; i < DNS_SOCKETS; i++) {
    fds[i] = open_udp(host, port, SOCK_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fds[i], &event) < 0) fail("epoll_ctl");
  }
  say_ready();
  for (size_t place = 0; place < window; place++) ask(fds[place % DNS_SOCKETS], place, window);
  for (int64_t looked_ns = now_ns();;) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, 100);
    for (int i = 0; i < ready; i++) {
      take_answer(fds[events[i].data.u32], window, events[i].data.u32);
    }
    if (now_ns() - looked_ns < CALL_NS) continue;
    looked_ns = now_ns();
    for (size_t place = 0; place < window; place++) {
      if (looked_ns - questions[place].sent_ns < DNS_LOST_NS) continue;
      add(&failures, 1);
      ask(fds[place % DNS_SOCKETS], place, window);
    }
  }
}

static int usage(void) {
  fprintf(stderr, "usage: see the head of traffic.c\n");
  return 2;
}

int main(int count, char **words) {
  signal(SIGPIPE, SIG_IGN);
  begin();
  pthread_t owner;
  if (pthread_create(&owner, NULL, obey, NULL) != 0) fail("thread");
  const char *role = count > 1 ? words[1] : "";
#define IS(name, wanted) (strcmp(role, name) == 0 && count == 2 + (wanted))
  if (IS("echo", 1)) serve(ECHO, words[2]);
  if (IS("source", 1)) serve(SOURCE, words[2]);
  if (IS("sink", 1)) serve(SINK, words[2]);
  if (IS("udp-sink", 1)) count_datagrams(open_server(SOCK_DGRAM, words[2]), 0);
  if (IS("udp-source", 3)) run_udp_source(atoi(words[2]), (size_t)atoi(words[3]), words[4]);
  if (IS("dns", 1)) run_dns(words[2]);
  if (IS("pull", 3)) run_streams(atoi(words[2]), words[3], words[4], 0);
  if (IS("push", 3)) run_streams(atoi(words[2]), words[3], words[4], 1);
  if (IS("rr", 2)) run_rr(words[2], words[3]);
  if (IS("crr", 2)) run_crr(words[2], words[3]);
  if (IS("udp-push", 4)) {
    run_udp_push(atoi(words[2]), (size_t)atoi(words[3]), words[4], words[5]);
  }
  if (IS("udp-pull", 2)) count_datagrams(open_udp(words[2], words[3], 0), 1);
  if (IS("ask", 3)) run_ask((size_t)atoi(words[2]), words[3], words[4]);
  return usage();
}
