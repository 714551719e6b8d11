/**
 * The parameters of a service binding (SVCB and HTTPS records, RFC 9460 section 2.2): takes some
 * out, and keeps the list of mandatory ones true.
 *
 * @module
 */
import { putWord, word } from "./message.ts";
import { plainNameEnd } from "./name.ts";

/** Keys of parameters (RFC 9460 section 14.3.2). */
export const ParamKey = { mandatory: 0, ipv4Hint: 4, ech: 5, ipv6Hint: 6 } as const;

/** Key and length of a parameter. */
const PARAM_HEAD_BYTES = 4;

/**
 * A binding without some of its parameters.
 *
 * @param data The record's RDATA.
 * @param isUnwanted Whether a parameter has to go, by its key and a view of its value.
 * @returns `data` itself where none has to; `null` where the binding is malformed: the target's name
 * is compressed, keys do not ascend, a length leads out of it.
 */
export function withoutParams(
  data: Uint8Array,
  isUnwanted: (key: number, value: Uint8Array) => boolean,
): Uint8Array | null {
  const paramsAt = data.length < 3 ? -1 : plainNameEnd(data, 2);
  if (paramsAt < 0) return null;
  const gone = new Set<number>();
  let last = -1;
  for (let at = paramsAt; at < data.length;) {
    const valueAt = at + PARAM_HEAD_BYTES;
    if (valueAt > data.length) return null;
    const key = word(data, at);
    const end = valueAt + word(data, at + 2);
    if (key <= last || end > data.length) return null;
    const value = data.subarray(valueAt, end);
    if (key !== ParamKey.mandatory) {
      if (isUnwanted(key, value)) gone.add(key);
    } else if (value.length === 0 || value.length % 2 !== 0) return null;
    last = key;
    at = end;
  }
  return gone.size === 0 ? data : copyWithout(data, paramsAt, gone);
}

/** Copies a well-formed binding without parameters, also where `mandatory` names them. */
function copyWithout(data: Uint8Array, paramsAt: number, gone: ReadonlySet<number>): Uint8Array {
  const out = new Uint8Array(data.length);
  out.set(data.subarray(0, paramsAt));
  let to = paramsAt;
  for (let at = paramsAt; at < data.length;) {
    const key = word(data, at);
    const end = at + PARAM_HEAD_BYTES + word(data, at + 2);
    if (!gone.has(key)) {
      let valueTo = to + PARAM_HEAD_BYTES;
      if (key === ParamKey.mandatory) {
        for (let listed = at + PARAM_HEAD_BYTES; listed < end; listed += 2) {
          if (gone.has(word(data, listed))) continue;
          putWord(out, valueTo, word(data, listed));
          valueTo += 2;
        }
      } else {
        out.set(data.subarray(at + PARAM_HEAD_BYTES, end), valueTo);
        valueTo += end - at - PARAM_HEAD_BYTES;
      }
      // An empty list of mandatory parameters is malformed: the list goes too.
      if (key !== ParamKey.mandatory || valueTo > to + PARAM_HEAD_BYTES) {
        putWord(out, to, key);
        putWord(out, to + 2, valueTo - to - PARAM_HEAD_BYTES);
        to = valueTo;
      }
    }
    at = end;
  }
  return out.slice(0, to);
}
