;; Sums, and copies with a sum, of ranges in the frame memory.
;;
;; The ones'-complement sum does not care for byte order until the end (RFC 1071 section 2 B), so
;; words are added as they lie in memory, little-endian, and the folded sum is swapped once.
;;
;; Four vectors of 16 octets a step, each into four 32-bit lanes that hold sums of two words: a
;; lane gains at most 4 * 131,070 a step, so that 8,191 steps (524,224 octets) can't overflow it.
;; The caller cuts longer ranges (MAX_KERNEL_BYTES in memory.ts).
(module
  (import "m" "m" (memory 0))

  ;; The lanes of $lanes, plus the 0 to 15 octets at $at, as a folded big-endian sum.
  (func $finish (param $lanes v128) (param $at i32) (param $length i32) (result i32)
    (local $sum i64) (local $folded i32)
    (local.set $lanes (i64x2.add
      (i64x2.extend_low_i32x4_u (local.get $lanes))
      (i64x2.extend_high_i32x4_u (local.get $lanes))))
    (local.set $sum (i64.add
      (i64x2.extract_lane 0 (local.get $lanes))
      (i64x2.extract_lane 1 (local.get $lanes))))
    (if (i32.and (local.get $length) (i32.const 8)) (then
      (local.set $sum (i64.add (local.get $sum) (i64.add
        (i64.load32_u align=1 (local.get $at))
        (i64.load32_u offset=4 align=1 (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))))
    (if (i32.and (local.get $length) (i32.const 4)) (then
      (local.set $sum (i64.add (local.get $sum) (i64.load32_u align=1 (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))))
    (if (i32.and (local.get $length) (i32.const 2)) (then
      (local.set $sum (i64.add (local.get $sum) (i64.load16_u align=1 (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 2)))))
    (if (i32.and (local.get $length) (i32.const 1)) (then
      (local.set $sum (i64.add (local.get $sum) (i64.load8_u (local.get $at))))))
    ;; Below 2^36 here: 64 → 33 → 32 bits, then 32 → 17 → 16.
    (local.set $sum (i64.add
      (i64.and (local.get $sum) (i64.const 0xffffffff))
      (i64.shr_u (local.get $sum) (i64.const 32))))
    (local.set $sum (i64.add
      (i64.and (local.get $sum) (i64.const 0xffffffff))
      (i64.shr_u (local.get $sum) (i64.const 32))))
    (local.set $folded (i32.wrap_i64 (local.get $sum)))
    (local.set $folded (i32.add
      (i32.and (local.get $folded) (i32.const 0xffff))
      (i32.shr_u (local.get $folded) (i32.const 16))))
    (local.set $folded (i32.add
      (i32.and (local.get $folded) (i32.const 0xffff))
      (i32.shr_u (local.get $folded) (i32.const 16))))
    (i32.or
      (i32.shl (i32.and (local.get $folded) (i32.const 0xff)) (i32.const 8))
      (i32.shr_u (local.get $folded) (i32.const 8))))

  ;; Copies 0 to 15 octets; memory.copy costs more than this at such lengths.
  (func $copy_tail (param $to i32) (param $from i32) (param $length i32)
    (if (i32.and (local.get $length) (i32.const 8)) (then
      (i64.store align=1 (local.get $to) (i64.load align=1 (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 8)))
      (local.set $from (i32.add (local.get $from) (i32.const 8)))))
    (if (i32.and (local.get $length) (i32.const 4)) (then
      (i32.store align=1 (local.get $to) (i32.load align=1 (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 4)))
      (local.set $from (i32.add (local.get $from) (i32.const 4)))))
    (if (i32.and (local.get $length) (i32.const 2)) (then
      (i32.store16 align=1 (local.get $to) (i32.load16_u align=1 (local.get $from)))
      (local.set $to (i32.add (local.get $to) (i32.const 2)))
      (local.set $from (i32.add (local.get $from) (i32.const 2)))))
    (if (i32.and (local.get $length) (i32.const 1)) (then
      (i32.store8 (local.get $to) (i32.load8_u (local.get $from))))))

  (func (export "sum") (param $at i32) (param $length i32) (result i32)
    (local $a v128) (local $b v128)
    (if (i32.ge_u (local.get $length) (i32.const 64)) (then
      (loop $step
        (local.set $a (i32x4.add (local.get $a) (i32x4.add
          (i32x4.extadd_pairwise_i16x8_u (v128.load align=1 (local.get $at)))
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=16 align=1 (local.get $at))))))
        (local.set $b (i32x4.add (local.get $b) (i32x4.add
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=32 align=1 (local.get $at)))
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=48 align=1 (local.get $at))))))
        (local.set $at (i32.add (local.get $at) (i32.const 64)))
        (local.set $length (i32.sub (local.get $length) (i32.const 64)))
        (br_if $step (i32.ge_u (local.get $length) (i32.const 64))))
      (local.set $a (i32x4.add (local.get $a) (local.get $b)))))
    (if (i32.ge_u (local.get $length) (i32.const 16)) (then
      (loop $step
        (local.set $a (i32x4.add (local.get $a)
          (i32x4.extadd_pairwise_i16x8_u (v128.load align=1 (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (local.set $length (i32.sub (local.get $length) (i32.const 16)))
        (br_if $step (i32.ge_u (local.get $length) (i32.const 16))))))
    (call $finish (local.get $a) (local.get $at) (local.get $length)))

  (func (export "copySum") (param $to i32) (param $from i32) (param $length i32) (result i32)
    (local $a v128) (local $b v128)
    (local $x v128) (local $y v128) (local $z v128) (local $w v128)
    (if (i32.ge_u (local.get $length) (i32.const 64)) (then
      (loop $step
        (local.set $x (v128.load align=1 (local.get $from)))
        (local.set $y (v128.load offset=16 align=1 (local.get $from)))
        (local.set $z (v128.load offset=32 align=1 (local.get $from)))
        (local.set $w (v128.load offset=48 align=1 (local.get $from)))
        (v128.store align=1 (local.get $to) (local.get $x))
        (v128.store offset=16 align=1 (local.get $to) (local.get $y))
        (v128.store offset=32 align=1 (local.get $to) (local.get $z))
        (v128.store offset=48 align=1 (local.get $to) (local.get $w))
        (local.set $a (i32x4.add (local.get $a) (i32x4.add
          (i32x4.extadd_pairwise_i16x8_u (local.get $x))
          (i32x4.extadd_pairwise_i16x8_u (local.get $y)))))
        (local.set $b (i32x4.add (local.get $b) (i32x4.add
          (i32x4.extadd_pairwise_i16x8_u (local.get $z))
          (i32x4.extadd_pairwise_i16x8_u (local.get $w)))))
        (local.set $from (i32.add (local.get $from) (i32.const 64)))
        (local.set $to (i32.add (local.get $to) (i32.const 64)))
        (local.set $length (i32.sub (local.get $length) (i32.const 64)))
        (br_if $step (i32.ge_u (local.get $length) (i32.const 64))))
      (local.set $a (i32x4.add (local.get $a) (local.get $b)))))
    (if (i32.ge_u (local.get $length) (i32.const 16)) (then
      (loop $step
        (local.set $x (v128.load align=1 (local.get $from)))
        (v128.store align=1 (local.get $to) (local.get $x))
        (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (local.get $x))))
        (local.set $from (i32.add (local.get $from) (i32.const 16)))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))
        (local.set $length (i32.sub (local.get $length) (i32.const 16)))
        (br_if $step (i32.ge_u (local.get $length) (i32.const 16))))))
    (call $copy_tail (local.get $to) (local.get $from) (local.get $length))
    (call $finish (local.get $a) (local.get $from) (local.get $length)))
)
