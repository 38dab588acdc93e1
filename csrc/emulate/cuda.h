// All of CUDA C++ that kernels use: csrc/cuda/common.cuh includes this in place of NVIDIA's headers.
#pragma once

// clang-format off: each needs those before it
#include "language.h"
#include "conversions.h"
#include "arithmetic.h"
#include "half.h"
#include "atomics.h"
#include "synchronise.h"
