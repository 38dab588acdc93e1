// What ptx.cpp does for the instructions of ptx.h.
#pragma once

#include "thread.h"

namespace emulate {

void cp_async(void* shared, const void* global, unsigned bytes, bool wanted, Site site);
void cp_async_commit();
void cp_async_wait(unsigned pending);

void ldmatrix(uint32_t* r, const void* row, int matrices, bool transposed, const char* name, Site site);

enum class Factor { half, bfloat16, tf32 };
void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Factor factor, const char* name, Site site);

}  // namespace emulate
