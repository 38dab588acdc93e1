// __half and __nv_bfloat16: storage of 16 bits, arithmetic in float, rounded to nearest, ties to even.
#pragma once

// The type, its pair, its operators; CUDA names its functions by `short_name` (__hadd is of both) and `long_name`.
#define RINGLEADER_HALF(Type, Pair, to_float, from_float)                                                             \
  struct Type {                                                                                                       \
    uint16_t bits;                                                                                                    \
    Type() = default;                                                                                                 \
    Type(float value) : bits(emulate::from_float(value)) {}                                                           \
    Type(double value) : Type(static_cast<float>(value)) {}                                                           \
    Type(int value) : Type(static_cast<float>(value)) {}                                                              \
    Type(unsigned value) : Type(static_cast<float>(value)) {}                                                         \
    operator float() const { return emulate::to_float(bits); }                                                        \
    Type& operator+=(Type other) { return *this = Type(float(*this) + float(other)); }                                \
    Type& operator-=(Type other) { return *this = Type(float(*this) - float(other)); }                                \
    Type& operator*=(Type other) { return *this = Type(float(*this) * float(other)); }                                \
    Type& operator/=(Type other) { return *this = Type(float(*this) / float(other)); }                                \
  };                                                                                                                  \
  struct alignas(4) Pair {                                                                                            \
    Type x, y;                                                                                                        \
    Pair() = default;                                                                                                 \
    Pair(Type x, Type y) : x(x), y(y) {}                                                                              \
  };                                                                                                                  \
  inline Type operator+(Type a, Type b) { return Type(float(a) + float(b)); }                                         \
  inline Type operator-(Type a, Type b) { return Type(float(a) - float(b)); }                                         \
  inline Type operator*(Type a, Type b) { return Type(float(a) * float(b)); }                                         \
  inline Type operator/(Type a, Type b) { return Type(float(a) / float(b)); }                                         \
  inline Type operator-(Type a) { return Type(-float(a)); }                                                           \
  inline bool operator<(Type a, Type b) { return float(a) < float(b); }                                               \
  inline bool operator>(Type a, Type b) { return float(a) > float(b); }                                               \
  inline bool operator<=(Type a, Type b) { return float(a) <= float(b); }                                             \
  inline bool operator>=(Type a, Type b) { return float(a) >= float(b); }                                             \
  inline bool operator==(Type a, Type b) { return float(a) == float(b); }                                             \
  inline bool operator!=(Type a, Type b) { return float(a) != float(b); }                                             \
  inline Type __hadd(Type a, Type b) { return a + b; }                                                                \
  inline Type __hsub(Type a, Type b) { return a - b; }                                                                \
  inline Type __hmul(Type a, Type b) { return a * b; }                                                                \
  inline Type __hdiv(Type a, Type b) { return a / b; }                                                                \
  inline Type __hneg(Type a) { return -a; }                                                                           \
  inline Type __habs(Type a) { return Type(fabsf(float(a))); }                                                        \
  inline Type __hfma(Type a, Type b, Type c) { return Type(fmaf(float(a), float(b), float(c))); }                     \
  inline Type __hmax(Type a, Type b) { return Type(fmaxf(float(a), float(b))); }                                      \
  inline Type __hmin(Type a, Type b) { return Type(fminf(float(a), float(b))); }                                      \
  inline bool __hgt(Type a, Type b) { return a > b; }                                                                 \
  inline bool __hlt(Type a, Type b) { return a < b; }                                                                 \
  inline bool __heq(Type a, Type b) { return a == b; }                                                                \
  inline bool __hisnan(Type a) { return isnan(float(a)); }                                                            \
  inline Pair __hadd2(Pair a, Pair b) { return {a.x + b.x, a.y + b.y}; }                                              \
  inline Pair __hsub2(Pair a, Pair b) { return {a.x - b.x, a.y - b.y}; }                                              \
  inline Pair __hmul2(Pair a, Pair b) { return {a.x * b.x, a.y * b.y}; }                                              \
  inline Pair __hfma2(Pair a, Pair b, Pair c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }              \
  inline Pair __hmax2(Pair a, Pair b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }                                \
  inline Pair __hmin2(Pair a, Pair b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }                                \
  inline Pair operator+(Pair a, Pair b) { return __hadd2(a, b); }                                                     \
  inline Pair operator-(Pair a, Pair b) { return __hsub2(a, b); }                                                     \
  inline Pair operator*(Pair a, Pair b) { return __hmul2(a, b); }                                                     \
  inline float __low2float(Pair pair) { return float(pair.x); }                                                       \
  inline float __high2float(Pair pair) { return float(pair.y); }
RINGLEADER_HALF(__half, __half2, half_to_float, float_to_half)
RINGLEADER_HALF(__nv_bfloat16, __nv_bfloat162, bfloat16_to_float, float_to_bfloat16)
#undef RINGLEADER_HALF
using half = __half;
using half2 = __half2;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

inline __half __float2half(float x) { return __half(x); }
inline __half __float2half_rn(float x) { return __half(x); }
inline __half __double2half(double x) { return __half(x); }
inline __half __int2half_rn(int x) { return __half(x); }
inline float __half2float(__half x) { return float(x); }
inline __half2 __half2half2(__half x) { return {x, x}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half2 __float2half2_rn(float x) { return {__half(x), __half(x)}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline __half2 __float22half2_rn(float2 x) { return {__half(x.x), __half(x.y)}; }
inline float2 __half22float2(__half2 x) { return {float(x.x), float(x.y)}; }
inline __half __low2half(__half2 x) { return x.x; }
inline __half __high2half(__half2 x) { return x.y; }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline __half __ushort_as_half(unsigned short bits) { return emulate::bit_cast<__half>(bits); }

inline __nv_bfloat16 __float2bfloat16(float x) { return __nv_bfloat16(x); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return __nv_bfloat16(x); }
inline __nv_bfloat16 __double2bfloat16(double x) { return __nv_bfloat16(x); }
inline __nv_bfloat16 __int2bfloat16_rn(int x) { return __nv_bfloat16(x); }
inline float __bfloat162float(__nv_bfloat16 x) { return float(x); }
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 x) { return {x, x}; }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline __nv_bfloat162 __float2bfloat162_rn(float x) { return {__nv_bfloat16(x), __nv_bfloat16(x)}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {__nv_bfloat16(x), __nv_bfloat16(y)}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 x) { return {__nv_bfloat16(x.x), __nv_bfloat16(x.y)}; }
inline float2 __bfloat1622float2(__nv_bfloat162 x) { return {float(x.x), float(x.y)}; }
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 x) { return x.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 x) { return x.y; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return emulate::bit_cast<__nv_bfloat16>(bits); }
