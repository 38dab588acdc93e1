#include "context.h"

#ifdef __x86_64__
// Only what a function must preserve for its caller goes along: six registers and the stack pointer.
asm(R"(
.text
.globl ringleader_switch
.hidden ringleader_switch
.type ringleader_switch, @function
ringleader_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size ringleader_switch, . - ringleader_switch
)");
#endif
