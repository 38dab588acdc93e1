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

template <typename T>
struct Same {  // as a parameter, takes no part in deducing T: atomicAdd(&unsigned_counter, 1)
  using type = T;
};

}  // namespace emulate

#define RINGLEADER_SITE emulate::Site site = emulate::here()
#define RINGLEADER_ATOMIC(name, expression)                                                     \
  template <typename T>                                                                         \
  inline T name(T* address, typename emulate::Same<T>::type value, RINGLEADER_SITE) {           \
    return emulate::update(address, [value](T old) -> T { return expression; }, site);          \
  }                                                                                             \
  template <typename T>                                                                         \
  inline T name##_block(T* address, typename emulate::Same<T>::type value, RINGLEADER_SITE) {   \
    return name(address, value, site);                                                          \
  }
RINGLEADER_ATOMIC(atomicAdd, old + value)
RINGLEADER_ATOMIC(atomicSub, old - value)
RINGLEADER_ATOMIC(atomicMax, old < value ? value : old)
RINGLEADER_ATOMIC(atomicMin, value < old ? value : old)
RINGLEADER_ATOMIC(atomicAnd, old & value)
RINGLEADER_ATOMIC(atomicOr, old | value)
RINGLEADER_ATOMIC(atomicXor, old ^ value)
RINGLEADER_ATOMIC(atomicExch, (static_cast<void>(old), value))
RINGLEADER_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
RINGLEADER_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)
#undef RINGLEADER_ATOMIC

template <typename T>
inline T atomicCAS(T* address, typename emulate::Same<T>::type expected, typename emulate::Same<T>::type value,
                   RINGLEADER_SITE) {
  return emulate::update(address, [=](T old) -> T { return old == expected ? value : old; }, site);
}

inline void __threadfence() { emulate::fence(); }
inline void __threadfence_block() {}
inline void __threadfence_system() { emulate::fence(); }

inline unsigned poll(const unsigned* address, RINGLEADER_SITE) { return emulate::poll(address, site); }
#undef RINGLEADER_SITE
