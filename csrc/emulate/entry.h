// One kernel as the emulator calls it: its parameters' types as text, and a function that takes them by address.
//
// The file that is compiled is
//     #include "entry.h"
//     #include "/path/to/softmax.cu"
//     RINGLEADER_ENTRY(softmax_forward<float>)
#pragma once

#include "cuda.h"
#include "parameters.h"

namespace emulate {

// As Python reads them (kernel.py): a scalar is a letter of numpy and a size, "f4"; a pointer "*f4", to const "*=f4".
template <typename T, typename = void>
struct Spelled {
  static constexpr const char* name = "struct";
};
#define RINGLEADER_SPELL(T, text)               \
  template <>                                   \
  struct Spelled<T> {                           \
    static constexpr const char* name = text;   \
  };
RINGLEADER_SPELL(bool, "b1")
RINGLEADER_SPELL(char, "i1")
RINGLEADER_SPELL(signed char, "i1")
RINGLEADER_SPELL(unsigned char, "u1")
RINGLEADER_SPELL(short, "i2")
RINGLEADER_SPELL(unsigned short, "u2")
RINGLEADER_SPELL(int, "i4")
RINGLEADER_SPELL(unsigned, "u4")
RINGLEADER_SPELL(long, "i8")
RINGLEADER_SPELL(unsigned long, "u8")
RINGLEADER_SPELL(long long, "i8")
RINGLEADER_SPELL(unsigned long long, "u8")
RINGLEADER_SPELL(float, "f4")
RINGLEADER_SPELL(double, "f8")
RINGLEADER_SPELL(__half, "f2")
RINGLEADER_SPELL(__nv_bfloat16, "bf2")
RINGLEADER_SPELL(void, "void")
#undef RINGLEADER_SPELL

template <typename T>
struct Describe {
  static constexpr Parameter parameter{false, false, Spelled<T>::name, sizeof(T)};
};
template <typename T>
struct Describe<const T> : Describe<T> {};
template <typename T>
struct Describe<T*> {
  static constexpr Parameter parameter{true, false, Spelled<T>::name, sizeof(T*)};
};
template <typename T>
struct Describe<const T*> {
  static constexpr Parameter parameter{true, true, Spelled<T>::name, sizeof(T*)};
};
template <typename T>
struct Describe<T* const> : Describe<T*> {};

template <size_t... I>
struct Indices {};

template <typename... Types>
struct Kernel {
  static constexpr Parameter parameters[sizeof...(Types) + 1] = {Describe<Types>::parameter..., {}};

  template <void (*function)(Types...)>
  __attribute__((no_sanitize("thread"))) static void call(void** arguments) {
    call_with<function>(arguments, static_cast<Indices<__integer_pack(sizeof...(Types))...>*>(nullptr));
  }
  template <void (*function)(Types...), size_t... I>
  __attribute__((no_sanitize("thread"))) static void call_with(void** arguments, Indices<I...>*) {
    static_cast<void>(arguments);
    function(*static_cast<typename Plain<Types>::type*>(arguments[I])...);
  }

 private:
  template <typename T>
  struct Plain {
    using type = T;
  };
  template <typename T>
  struct Plain<const T> {
    using type = T;
  };
};

template <typename Function, Function function>
struct EntryOf;
template <typename... Types, void (*function)(Types...)>
struct EntryOf<void (*)(Types...), function> {
  static constexpr Entry entry{Kernel<Types...>::template call<function>, Kernel<Types...>::parameters,
                               sizeof...(Types)};
};

}  // namespace emulate

#define RINGLEADER_ENTRY(...)                                                                   \
  constexpr auto* ringleader_kernel = &__VA_ARGS__;                                             \
  extern "C" __attribute__((visibility("default"))) const emulate::Entry ringleader_entry =     \
      emulate::EntryOf<decltype(&*ringleader_kernel), ringleader_kernel>::entry;
