// Atomic operations. One thread runs at a time, so plain ones are; checked mode hears of them as what they are.
#pragma once

namespace emulate {

template <typename T, typename Change>
__attribute__((no_sanitize("thread"))) inline T update(T* address, Change change, Site site) {
  touch(address, sizeof(T), Access::atomic, site);
  const T old = *address;
  *address = change(old);
  return old;
}

}  // namespace emulate

#define RINGLEADER_SITE emulate::Site site = emulate::here()
#define RINGLEADER_ATOMIC(name, T, expression)                                                        \
  inline T name(T* address, T value, RINGLEADER_SITE) {                                               \
    return emulate::update(address, [value](T old) -> T { return expression; }, site);                \
  }                                                                                                   \
  inline T name##_block(T* address, T value, RINGLEADER_SITE) { return name(address, value, site); }
#define RINGLEADER_CAS(T)                                                                             \
  inline T atomicCAS(T* address, T expected, T value, RINGLEADER_SITE) {                              \
    return emulate::update(address, [=](T old) -> T { return old == expected ? value : old; }, site); \
  }
// For the types that CUDA has them for, and no others: what compiles here must compile there.
#define RINGLEADER_OF_INTEGERS(T)                      \
  RINGLEADER_ATOMIC(atomicMax, T, old < value ? value : old) \
  RINGLEADER_ATOMIC(atomicMin, T, value < old ? value : old) \
  RINGLEADER_ATOMIC(atomicAnd, T, old & value)         \
  RINGLEADER_ATOMIC(atomicOr, T, old | value)          \
  RINGLEADER_ATOMIC(atomicXor, T, old ^ value)
RINGLEADER_OF_INTEGERS(int)
RINGLEADER_OF_INTEGERS(unsigned)
RINGLEADER_OF_INTEGERS(long long)
RINGLEADER_OF_INTEGERS(unsigned long long)
RINGLEADER_ATOMIC(atomicAdd, int, old + value)
RINGLEADER_ATOMIC(atomicAdd, unsigned, old + value)
RINGLEADER_ATOMIC(atomicAdd, unsigned long long, old + value)
RINGLEADER_ATOMIC(atomicAdd, float, old + value)
RINGLEADER_ATOMIC(atomicAdd, double, old + value)
RINGLEADER_ATOMIC(atomicAdd, __half, old + value)
RINGLEADER_ATOMIC(atomicAdd, __nv_bfloat16, old + value)
RINGLEADER_ATOMIC(atomicSub, int, old - value)
RINGLEADER_ATOMIC(atomicSub, unsigned, old - value)
RINGLEADER_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
RINGLEADER_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)
RINGLEADER_ATOMIC(atomicExch, int, (static_cast<void>(old), value))
RINGLEADER_ATOMIC(atomicExch, unsigned, (static_cast<void>(old), value))
RINGLEADER_ATOMIC(atomicExch, unsigned long long, (static_cast<void>(old), value))
RINGLEADER_ATOMIC(atomicExch, float, (static_cast<void>(old), value))
RINGLEADER_CAS(int)
RINGLEADER_CAS(unsigned)
RINGLEADER_CAS(unsigned long long)
RINGLEADER_CAS(unsigned short)
#undef RINGLEADER_OF_INTEGERS
#undef RINGLEADER_ATOMIC
#undef RINGLEADER_CAS

inline void __threadfence() { emulate::fence(); }
inline void __threadfence_block() {}
inline void __threadfence_system() { emulate::fence(); }

inline unsigned poll(const unsigned* address, RINGLEADER_SITE) { return emulate::poll(address, site); }
#undef RINGLEADER_SITE
