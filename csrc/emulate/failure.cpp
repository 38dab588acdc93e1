// What a launch fails by: deadlocks, barriers that only some threads reach, wild pointers.
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include "state.h"

namespace emulate {

size_t crash_pc;

namespace {

constexpr int SIGNALS[3] = {SIGSEGV, SIGBUS, SIGFPE};
constexpr size_t SIGNAL_STACK_BYTES = 64 << 10;  // the kernel's own may be used up
struct sigaction actions_before[3];
stack_t stack_before;
char* signal_stack;
pthread_t launcher;  // the operating system's thread that runs the kernel

void on_crash(int signal, siginfo_t* info, void* machine) {
  if (running == nullptr || !pthread_equal(launcher, pthread_self())) {  // not the kernel's doing
    struct sigaction usual {};
    usual.sa_handler = SIG_DFL;
    sigaction(signal, &usual, nullptr);
    return;  // and it happens again
  }
#ifdef __x86_64__
  crash_pc = static_cast<size_t>(static_cast<ucontext_t*>(machine)->uc_mcontext.gregs[16]);  // RIP
#else
  static_cast<void>(machine);
#endif
  if (signal == SIGFPE) fail("crash", {}, "divides an integer by zero");
  fail("crash", {}, "address %p is no memory, or not aligned for the access, or the stack of %zu KB is used up",
       info->si_addr, STACK_BYTES >> 10);
}

}  // namespace

void record(const char* kind, Site site, const Thread* thread, const char* message) {
  Failure& failure = *(state->failure = state->report);
  snprintf(failure.kind, sizeof failure.kind, "%s", kind);
  snprintf(failure.message, sizeof failure.message, "%s", message);
  snprintf(failure.file, sizeof failure.file, "%s", site.file ? site.file : "");
  failure.line = site.line;
  if (thread == nullptr) return;
  const uint3 b = thread->view.block, t = thread->view.thread;
  const unsigned block[3] = {b.x, b.y, b.z}, index[3] = {t.x, t.y, t.z};
  memcpy(failure.block, block, sizeof block);
  memcpy(failure.thread, index, sizeof index);
}

// Who waits where, and how many have ended: the message of a deadlock.
void record_deadlock(Block& block) {
  char message[sizeof(Failure::message)];
  size_t used = 0;
  const auto say = [&](const char* format, auto... values) {
    if (used < sizeof message) {
      used += static_cast<size_t>(snprintf(message + used, sizeof message - used, format, values...));
    }
  };
  std::vector<bool> told(block.threads.size());
  const Thread* first_waiting = nullptr;
  for (size_t i = 0; i < block.threads.size(); i++) {
    const Thread& thread = block.threads[i];
    if (told[i] || thread.ended) continue;
    if (first_waiting == nullptr) first_waiting = &thread;
    int count = 0;
    for (size_t j = i; j < block.threads.size(); j++) {
      const Wait& other = block.threads[j].wait;
      if (block.threads[j].ended || other.name != thread.wait.name || !same(other.site, thread.wait.site)) continue;
      told[j] = true;
      count++;
    }
    const uint3 at = thread.view.thread;
    say("%d thread%s, first (%u, %u, %u), wait%s in %s at %s:%d; ", count, count == 1 ? "" : "s", at.x, at.y, at.z,
        count == 1 ? "s" : "", thread.wait.name, thread.wait.site.file, thread.wait.site.line);
  }
  say("%u ended", static_cast<unsigned>(block.threads.size()) - block.live);
  record("deadlock", first_waiting->wait.site, first_waiting, message);
}

CrashGuard::CrashGuard() {
  crash_pc = 0;
  launcher = pthread_self();
  if (signal_stack == nullptr) signal_stack = new char[SIGNAL_STACK_BYTES];
  stack_t own{};
  own.ss_sp = signal_stack;
  own.ss_size = SIGNAL_STACK_BYTES;
  sigaltstack(&own, &stack_before);
  struct sigaction action {};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &action, &actions_before[i]);
}

CrashGuard::~CrashGuard() {
  for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &actions_before[i], nullptr);
  sigaltstack(&stack_before, nullptr);
}

void fail(const char* kind, Site site, const char* format, ...) {
  char message[sizeof(Failure::message)];
  va_list values;
  va_start(values, format);
  vsnprintf(message, sizeof message, format, values);
  va_end(values);
  Thread* self = running;
  record(kind, site, self, message);
  make_current(nullptr);
  switch_context(self->context, state->host);
  __builtin_unreachable();
}

}  // namespace emulate
