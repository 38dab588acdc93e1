// Between float and the 16-bit formats, as bits: to nearest, ties to even.
#pragma once

#include <stdint.h>

namespace emulate {

template <typename To, typename From>
inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "the same number of bits");
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

#ifdef __F16C__
typedef float FourFloats __attribute__((vector_size(16)));
typedef short EightShorts __attribute__((vector_size(16)));
inline float half_to_float(uint16_t bits) {
  return __builtin_ia32_vcvtph2ps(EightShorts{static_cast<short>(bits)})[0];
}
inline uint16_t float_to_half(float value) {
  return static_cast<uint16_t>(__builtin_ia32_vcvtps2ph(FourFloats{value}, 0)[0]);
}
#else
inline float half_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 0) {  // 0 and subnormal: a multiple of 2^-24
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -value : value;
  }
  if (exponent == 31) return bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  return bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}
inline uint16_t float_to_half(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000, absolute = bits & 0x7fffffff;
  if (absolute > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00 | (absolute >> 13 & 0x3ff));  // NaN
  if (absolute >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // rounds past 65504
  if (absolute >= 0x38800000) {                                            // normal
    const uint32_t rounded = absolute + 0xfff + (absolute >> 13 & 1);
    return static_cast<uint16_t>(sign | (rounded - 0x38000000) >> 13);
  }
  const uint32_t shift = 126 - (absolute >> 23);  // subnormal: in units of 2^-24
  if (shift > 25) return static_cast<uint16_t>(sign);
  const uint32_t mantissa = (absolute & 0x7fffff) | 0x800000, rest = mantissa & ((1u << shift) - 1);
  const uint32_t middle = 1u << (shift - 1), whole = mantissa >> shift;
  return static_cast<uint16_t>(sign | (whole + (rest > middle || (rest == middle && whole & 1))));
}
#endif

inline float bfloat16_to_float(uint16_t bits) { return bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
inline uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);  // NaN stays one
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace emulate
