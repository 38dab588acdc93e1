// Math functions, by their C names for float and double and, as in CUDA, by the double's name for both.
//
// Declared here and not taken from <cmath>, which would take longer to parse than most kernels take to compile.
#pragma once

extern "C" {
#define RINGLEADER_UNARY(name) \
  double name(double) noexcept; \
  float name##f(float) noexcept;
#define RINGLEADER_BINARY(name) \
  double name(double, double) noexcept; \
  float name##f(float, float) noexcept;
#define RINGLEADER_ALL_UNARY(X)                                                                                    \
  X(acos) X(acosh) X(asin) X(asinh) X(atan) X(atanh) X(cbrt) X(ceil) X(cos) X(cosh) X(erf) X(erfc) X(exp) X(exp2)  \
  X(expm1) X(fabs) X(floor) X(lgamma) X(log) X(log10) X(log1p) X(log2) X(nearbyint) X(rint) X(round) X(sin)        \
  X(sinh) X(sqrt) X(tan) X(tanh) X(tgamma) X(trunc)
#define RINGLEADER_ALL_BINARY(X) X(atan2) X(copysign) X(fdim) X(fmax) X(fmin) X(fmod) X(hypot) X(pow) X(remainder)
RINGLEADER_ALL_UNARY(RINGLEADER_UNARY)
RINGLEADER_ALL_BINARY(RINGLEADER_BINARY)
double fma(double, double, double) noexcept;
float fmaf(float, float, float) noexcept;
double ldexp(double, int) noexcept;
float ldexpf(float, int) noexcept;
int abs(int) noexcept;
#undef RINGLEADER_UNARY
#undef RINGLEADER_BINARY
}

#define RINGLEADER_UNARY(name) \
  inline float name(float x) { return name##f(x); }
#define RINGLEADER_BINARY(name) \
  inline float name(float x, float y) { return name##f(x, y); }
RINGLEADER_ALL_UNARY(RINGLEADER_UNARY)
RINGLEADER_ALL_BINARY(RINGLEADER_BINARY)
#undef RINGLEADER_UNARY
#undef RINGLEADER_BINARY
#undef RINGLEADER_ALL_UNARY
#undef RINGLEADER_ALL_BINARY
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
inline float abs(float x) { return fabsf(x); }
inline double abs(double x) { return fabs(x); }
inline long long abs(long long x) { return x < 0 ? -x : x; }

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isnan(double x) { return __builtin_isnan(x); }
inline bool isinf(float x) { return __builtin_isinf(x); }
inline bool isinf(double x) { return __builtin_isinf(x); }
inline bool isfinite(float x) { return __builtin_isfinite(x); }
inline bool isfinite(double x) { return __builtin_isfinite(x); }

// The fast approximations of a GPU are exact here. As macros: the C library has functions by some of these names.
#define __expf expf
#define __exp10f(x) exp2f((x) * 3.3219280948873623f)
#define __logf logf
#define __log2f log2f
#define __log10f log10f
#define __sinf sinf
#define __cosf cosf
#define __tanf tanf
#define __powf powf
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __fadd_rn(float x, float y) { return x + y; }
// A product that no compiler makes part of an fma, as on a GPU: past the empty instruction it is a number like any other.
inline float __fmul_rn(float x, float y) {
  float product = x * y;
  asm("" : "+x"(product));
  return product;
}
inline double __dmul_rn(double x, double y) {
  double product = x * y;
  asm("" : "+x"(product));
  return product;
}
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

// min and max as CUDA overloads them; of floats, a NaN loses.
#define RINGLEADER_MIN_MAX(T)                                   \
  inline T min(T x, T y) { return y < x ? y : x; }              \
  inline T max(T x, T y) { return x < y ? y : x; }
RINGLEADER_MIN_MAX(int)
RINGLEADER_MIN_MAX(unsigned)
RINGLEADER_MIN_MAX(long)
RINGLEADER_MIN_MAX(unsigned long)
RINGLEADER_MIN_MAX(long long)
RINGLEADER_MIN_MAX(unsigned long long)
#undef RINGLEADER_MIN_MAX
inline float min(float x, float y) { return fminf(x, y); }
inline float max(float x, float y) { return fmaxf(x, y); }
inline double min(double x, double y) { return fmin(x, y); }
inline double max(double x, double y) { return fmax(x, y); }

// --- Bits ------------------------------------------------------------------------------------------------------------

inline float __int_as_float(int x) { return emulate::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return emulate::bit_cast<float>(x); }
inline int __float_as_int(float x) { return emulate::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return emulate::bit_cast<unsigned>(x); }
inline double __longlong_as_double(long long x) { return emulate::bit_cast<double>(x); }
inline long long __double_as_longlong(double x) { return emulate::bit_cast<long long>(x); }
inline int __float2int_rn(float x) { return static_cast<int>(nearbyintf(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline int __float2int_rd(float x) { return static_cast<int>(floorf(x)); }
inline int __float2int_ru(float x) { return static_cast<int>(ceilf(x)); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>(static_cast<unsigned long long>(x) * y >> 32);
}
inline int __mulhi(int x, int y) { return static_cast<int>(static_cast<long long>(x) * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(x) * y >> 64);
}
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; bit++) reversed |= (x >> bit & 1u) << (31 - bit);
  return reversed;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return shift % 32 ? high << shift % 32 | low >> (32 - shift % 32) : high;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return shift % 32 ? low >> shift % 32 | high << (32 - shift % 32) : low;
}

// --- Memory: hints to caches mean nothing here -----------------------------------------------------------------------

template <typename T>
inline T __ldg(const T* address) { return *address; }
template <typename T>
inline T __ldcs(const T* address) { return *address; }
template <typename T>
inline T __ldcg(const T* address) { return *address; }
template <typename T>
inline void __stcs(T* address, T value) { *address = value; }
template <typename T>
inline void __stcg(T* address, T value) { *address = value; }
