// Checked mode: what it is told of the launch, and what it found.
#pragma once

#include <stddef.h>

namespace emulate {

// An argument's memory (overlapping ones are one), or a static shared array. name: as faults call it.
// origin: where the allocation starts that it is a part of, which on a GPU is aligned to sectors.
struct Memory {
  size_t start, bytes, origin;
  unsigned granule;  // bytes: what is watched as one
  const char* name;
};

constexpr size_t GAP = 256;  // bytes that compiler.py leaves around each static shared array

// One fault: of all that are the same, the first. pc or line: where; and where the other access of a race was.
struct Where {
  size_t pc;  // an instruction; 0: file and line say it
  const char* file;
  int line;
};
struct Fault {
  const char* kind;
  char message[256];
  Where where, other;
  unsigned block[3], thread[3];
  unsigned long long count;
  unsigned long long last;  // access counted: one of 16 bytes may be wrong in each of them
};

// Requests of warps from one place. cost: wavefronts of shared memory, or sectors of 32 bytes of global memory; ideal:
// the fewest for as many bytes.
struct Traffic {
  Where where;
  int shared;
  unsigned long long requests, cost, ideal;
};

}  // namespace emulate

extern "C" {
void ringleader_check_begin(const emulate::Memory* arguments, size_t argument_count, const emulate::Memory* shared,
                            size_t shared_count);
void ringleader_check_end();  // before the next two
void ringleader_check_forget();  // after them
size_t ringleader_check_faults(const emulate::Fault** faults);
size_t ringleader_check_traffic(const emulate::Traffic** traffic);
}
