// What Hopper (sm_90a) has besides ptx.cuh: barriers that count bytes, tiles copied by one thread (TMA), and products of
// whole warpgroups out of shared memory (wgmma). The only other place with inline assembly.
//
// Kernels that use it say `only="90a"`, and their dynamic shared memory begins at a multiple of 1024 bytes.
#pragma once

#include "ptx.cuh"

#ifdef RINGLEADER_EMULATE
#include "hopper.h"  // of csrc/emulate
#else

using uint64_t = unsigned long long;

// Where an array lies, its extents and the box that one copy takes; Device.tensor_map makes it. In global memory.
struct alignas(64) TensorMap {
  unsigned char bits[128];
};

// After this thread wrote shared memory itself, or by cp.async, that wgmma reads: before the barrier between the two.
__device__ __forceinline__ void async_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// --- Barriers in shared memory, that threads and copies arrive at ---------------------------------------------------------

__device__ __forceinline__ uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// A phase ends after so many arrivals and once all the bytes that were announced have come. One thread inits all barriers,
// then calls mbarrier_init_fence(), then the block meets in __syncthreads().
__device__ __forceinline__ void mbarrier_init(uint64_t* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void mbarrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  async_fence();
}

__device__ __forceinline__ void mbarrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// Arrives, and announces bytes that copies will bring in this phase.
__device__ __forceinline__ void mbarrier_arrive_expect(uint64_t* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}

// Until the phase of this parity has ended: phases are 0, 1, 0, 1, ...; of a new barrier, the one before (1) has.
__device__ __forceinline__ void mbarrier_wait(uint64_t* barrier, unsigned parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(shared_address(barrier)), "r"(parity)
      : "memory");
}

// --- TMA: one thread has a tile copied --------------------------------------------------------------------------------------

// Before a block uses a map that lies in global memory.
__device__ __forceinline__ void tensor_map_acquire(const TensorMap* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.gpu [%0], 128;" ::"l"(map) : "memory");
}

// The map's box at column, row, head, batch into shared memory, a multiple of 1024 bytes; zeros outside of the array. Rows
// are of 128 bytes, whose pieces of 16 are swizzled: piece p of row r lies in the place of piece p ^ r % 8. The barrier
// gets the box's bytes, those outside of the array included.
__device__ __forceinline__ void tma_load(void* shared, const TensorMap* map, uint64_t* barrier, int column, int row,
                                         int head, int batch) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6];" ::
          "r"(shared_address(shared)),
      "l"(map), "r"(column), "r"(row), "r"(head), "r"(batch), "r"(shared_address(barrier))
      : "memory");
}

// --- Registers -------------------------------------------------------------------------------------------------------------

// A warpgroup gives registers back, down to so many a thread, or takes them, up to so many, from those given back.
template <int REGISTERS>
__device__ __forceinline__ void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS>
__device__ __forceinline__ void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// --- wgmma: d += a b by the 128 threads of a warpgroup, under way until wgmma_wait -----------------------------------------

// Before the first wgmma, and after registers that one reads or adds to were changed otherwise.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most PENDING groups are under way. Before it, d must not be read, nor shared factors be written.
template <int PENDING>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// Registers that wgmma works on are no one else's business until the wait: without this the compiler may move them.
template <int N>
__device__ __forceinline__ void wgmma_hold(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}

// Where a factor lies in shared memory: a tile of rows of 128 bytes (64 numbers), swizzled as tma_load does; wider tiles
// are several such slabs. `at` may be 32 bytes times s into the rows of a factor whose rows go along k, and whole groups of
// 8 rows into one whose columns do. Fields (PTX ISA, "Matrix-descriptor format"): address / 16; bits 16 on, bytes between
// slabs / 16; bits 32 on, bytes between groups of 8 rows (1024) / 16; bits 62 on, 1 for swizzles of 128 bytes.
__device__ __forceinline__ uint64_t wgmma_descriptor(const void* at, unsigned slab_bytes = 16) {
  return uint64_t((shared_address(at) & 0x3ffff) >> 4) | uint64_t(slab_bytes >> 4) << 16 | uint64_t(1024 >> 4) << 32 |
         uint64_t(1) << 62;
}

#define RINGLEADER_NAMES_64 \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, " \
  "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
#define RINGLEADER_REGISTERS_64 \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), \
  "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), \
  "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), \
  "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define RINGLEADER_NAMES_128 \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, " \
  "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, " \
  "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, " \
  "%59, %60, %61, %62, %63}"
#define RINGLEADER_REGISTERS_128 \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), \
  "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), \
  "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), \
  "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), \
  "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), \
  "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), \
  "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), \
  "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])

// a: row 16 warp + lane / 4 and the row 8 below of the warpgroup's 64 are this lane's, as in mma_m16n8k16; d likewise, 8
// columns after 8: d[4 c + i] is d[i] there of columns 8 c to 8 c + 7. b: (N, 16), rows along k; with TRANSPOSED_B (16, N).
// a in shared memory: (64, 16), rows along k; with TRANSPOSED_A (16, 64). add: to d; otherwise d is the product.
template <typename T, bool TRANSPOSED_B, bool TRANSPOSED_A = false, int N>
__device__ __forceinline__ void wgmma(float (&d)[N], uint64_t a, uint64_t b, bool add);
template <typename T, bool TRANSPOSED_B, int N>
__device__ __forceinline__ void wgmma(float (&d)[N], const uint32_t (&a)[4], uint64_t b, bool add);

#define RINGLEADER_WGMMA_SHARED(T, type, n, transposed_b, transposed_a, n0, n1, n2, n3, n4, ...)                       \
  template <>                                                                                                      \
  __device__ __forceinline__ void wgmma<T, transposed_b, transposed_a>(float (&d)[n / 2], uint64_t a, uint64_t b,  \
                                                                       bool add) {                                 \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " n2 ", 0;\n"                                               \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " " RINGLEADER_NAMES_##n ", "     \
                 n0 ", " n1 ", add, 1, 1, " n4 ", " n3 ";\n}"                                                      \
                 : RINGLEADER_REGISTERS_##n                                                                        \
                 : "l"(a), "l"(b), "r"(int(add)), "n"(int(transposed_b)), "n"(int(transposed_a)));                 \
  }
#define RINGLEADER_WGMMA_REGISTERS(T, type, n, transposed_b, n0, n1, n2, n3, n4, n5, n6)                           \
  template <>                                                                                                      \
  __device__ __forceinline__ void wgmma<T, transposed_b>(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b,    \
                                                         bool add) {                                               \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " n5 ", 0;\n"                                               \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " " RINGLEADER_NAMES_##n ", {"    \
                 n0 ", " n1 ", " n2 ", " n3 "}, " n4 ", add, 1, 1, " n6 ";\n}"                                     \
                 : RINGLEADER_REGISTERS_##n                                                                        \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(add)), "n"(int(transposed_b)));     \
  }
#define RINGLEADER_WGMMA(T, type, n, transposed_b, ...)                             \
  RINGLEADER_WGMMA_SHARED(T, type, n, transposed_b, false, __VA_ARGS__)             \
  RINGLEADER_WGMMA_SHARED(T, type, n, transposed_b, true, __VA_ARGS__)              \
  RINGLEADER_WGMMA_REGISTERS(T, type, n, transposed_b, __VA_ARGS__)
#define RINGLEADER_WGMMA_TYPE(T, type)                                                              \
  RINGLEADER_WGMMA(T, type, 64, false, "%32", "%33", "%34", "%35", "%36", "%37", "%38")             \
  RINGLEADER_WGMMA(T, type, 64, true, "%32", "%33", "%34", "%35", "%36", "%37", "%38")              \
  RINGLEADER_WGMMA(T, type, 128, false, "%64", "%65", "%66", "%67", "%68", "%69", "%70")            \
  RINGLEADER_WGMMA(T, type, 128, true, "%64", "%65", "%66", "%67", "%68", "%69", "%70")
RINGLEADER_WGMMA_TYPE(__half, "f16")
RINGLEADER_WGMMA_TYPE(__nv_bfloat16, "bf16")
#undef RINGLEADER_WGMMA_TYPE
#undef RINGLEADER_WGMMA_SHARED
#undef RINGLEADER_WGMMA_REGISTERS
#undef RINGLEADER_WGMMA
#undef RINGLEADER_NAMES_64
#undef RINGLEADER_NAMES_128
#undef RINGLEADER_REGISTERS_64
#undef RINGLEADER_REGISTERS_128

#endif
