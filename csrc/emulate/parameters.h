// What a compiled kernel exports, for the scheduler and for Python.
#pragma once

namespace emulate {

struct Parameter {
  bool pointer;
  bool to_const;
  const char* type;  // of what is pointed at, or of the scalar
  unsigned size;     // bytes of the parameter itself
};

struct Entry {
  void (*call)(void** arguments);  // the address of each argument
  const Parameter* parameters;
  unsigned count;
};

}  // namespace emulate

// The one kernel of this shared object.
extern "C" __attribute__((visibility("default"))) const emulate::Entry ringleader_entry;
