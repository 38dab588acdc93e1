// Element-wise reduction kernels: dst[i] = a[i] op b[i], for every reduction and element type of the engine.
//
// Results are bit for bit those of numpy's ufuncs (add, multiply, minimum, maximum, bitwise_and, _or, _xor), and of
// ml_dtypes for bfloat16; fold_kernels.inc says where that needs care. Two things are as little promised as by numpy:
// which of two NaNs a sum or product keeps, and the last bit of complex products across processors, since they are
// fused where there is fused multiply-add (levels avx2 and avx512). No alignment is assumed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ringleader {

enum class Type : uint8_t { boolean, i8, u8, i16, u16, i32, u32, i64, u64, f16, bf16, f32, f64, c64, c128 };
enum class Fold : uint8_t { sum, prod, min, max, band, bor, bxor };
constexpr size_t type_count = 15, fold_count = 7;

// Bytes of one element.
size_t size_of(Type type);

// dst[i] = a[i] op b[i] for i < count. dst may equal a or b; any other overlap is not allowed.
using Folder = void (*)(void* dst, const void* a, const void* b, size_t count);

// nullptr where the operation is not defined for the type: bitwise ones of floats and complex numbers.
Folder find_folder(Fold fold, Type type);

// dst = from[0] op from[1] op ..., from left to right, of two or more arrays of elements of `size` bytes. dst may equal
// from[0] or from[1].
void fold_all(Folder folder, size_t size, char* dst, const std::vector<const char*>& from, size_t bytes);

// "avx512", "avx2" or "baseline": the kernels that this process uses, chosen once. The environment variable
// RINGLEADER_CPU=baseline|avx2 lowers the choice.
const char* cpu_level();

}  // namespace ringleader
