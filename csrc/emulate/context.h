// Leaving one stack for another: a switch written for x86-64 (about 5 ns), elsewhere the C library's (about 250 ns).
#pragma once

#include <stddef.h>

#ifdef __x86_64__

namespace emulate {
struct Context {
  void* stack_pointer;
};
}  // namespace emulate

extern "C" void ringleader_switch(void** save, void* to) __attribute__((visibility("hidden")));

namespace emulate {

inline void switch_context(Context& from, Context& to) { ringleader_switch(&from.stack_pointer, to.stack_pointer); }

// The first switch to it calls run(), which never returns, on the stack [stack, stack + bytes).
inline void prepare_context(Context& context, char* stack, size_t bytes, void (*run)()) {
  void** top = reinterpret_cast<void**>(stack + bytes);  // a multiple of 16
  *--top = nullptr;                                      // run's return address: aligns the stack as after a call
  *--top = reinterpret_cast<void*>(run);
  top -= 6;  // the registers that ringleader_switch takes from the stack
  for (int i = 0; i < 6; i++) top[i] = nullptr;
  context.stack_pointer = top;
}

}  // namespace emulate

#else

#include <ucontext.h>

namespace emulate {

using Context = ucontext_t;

inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }

inline void prepare_context(Context& context, char* stack, size_t bytes, void (*run)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = bytes;
  context.uc_link = nullptr;
  makecontext(&context, run, 0);
}

}  // namespace emulate

#endif
