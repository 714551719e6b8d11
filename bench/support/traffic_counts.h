/*
 * What a program that makes traffic has counted, and how it tells: "begin" on standard input sets
 * everything to zero, "count" prints it as a line of JSON, the end of standard input ends the
 * process. One thread obeys, the other one works; what they share are atomic counters. A program
 * includes this once, begins with `begin()` and starts `obey` as a thread.
 */
#pragma once
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Durations are counted in buckets whose width is at most 1/64 of what they hold. */
#define STEPS 64
#define BUCKETS (STEPS * 60)

static _Atomic uint64_t bytes_moved, units, failures;
static _Atomic uint32_t durations[BUCKETS];
static _Atomic int64_t begin_ns;

static void fail(const char *what) {
  fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void add(_Atomic uint64_t *counter, uint64_t count) {
  atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

static void keep_duration(int64_t ns) {
  uint64_t value = ns < 1 ? 1 : (uint64_t)ns;
  int shift = value < STEPS ? 0 : 63 - __builtin_clzll(value) - 6;
  size_t bucket = (size_t)shift * STEPS + (value >> shift);
  atomic_fetch_add_explicit(&durations[bucket < BUCKETS ? bucket : BUCKETS - 1], 1,
                            memory_order_relaxed);
}

/* The middle of a bucket, in microseconds. */
static double bucket_us(size_t bucket) {
  size_t shift = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;
  double low = (double)((bucket - shift * STEPS) << shift);
  return (low + (double)(1ULL << shift) / 2) / 1e3;
}

static double percentile_us(double share) {
  uint64_t total = 0, seen = 0;
  for (size_t i = 0; i < BUCKETS; i++) total += durations[i];
  for (size_t i = 0; i < BUCKETS; i++) {
    seen += durations[i];
    if (total > 0 && (double)seen >= share * (double)total) return bucket_us(i);
  }
  return 0;
}

static void begin(void) {
  for (size_t i = 0; i < BUCKETS; i++) durations[i] = 0;
  bytes_moved = units = failures = 0;
  begin_ns = now_ns();
}

static void print_counts(void) {
  double seconds = (double)(now_ns() - begin_ns) / 1e9;
  uint64_t moved = bytes_moved, count = units, failed = failures;
  printf("{\"seconds\":%.6f,\"bytes\":%llu,\"count\":%llu,\"failed\":%llu,"
         "\"p50Us\":%.2f,\"p99Us\":%.2f}\n",
         seconds, (unsigned long long)moved, (unsigned long long)count,
         (unsigned long long)failed, percentile_us(0.5), percentile_us(0.99));
  fflush(stdout);
}

static void *obey(void *unused) {
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (strcmp(line, "begin\n") == 0) begin();
    if (strcmp(line, "count\n") == 0) print_counts();
  }
  exit(0);
  return unused;
}

static void say_ready(void) {
  puts("ready");
  fflush(stdout);
}
