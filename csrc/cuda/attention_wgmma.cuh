// What the kernels of attention on Hopper share: tiles in shared memory, and the products of a warpgroup out of them.
//
// A block of three warpgroups has tiles of 128 rows, 64 for each of the last two, in shared memory all along, and a ring of
// STAGES stages that one thread of the first fills by TMA with tiles that stream past, as soon as all warps have done with a
// stage's last contents. A tile of (rows, HEAD) lies as slabs of (rows, 64).
#pragma once

#include "attention.cuh"
#include "hopper.cuh"

constexpr int GROUP = 128;      // threads of a warpgroup
constexpr int GROUP_ROWS = 64;  // rows of a warpgroup
constexpr int BLOCK_ROWS = 128; // rows of a block
constexpr int COMPUTING_WARPS = 8;
constexpr int SLAB = 64; // columns of a slab: 128 bytes
constexpr float LOG_2_E = 1.44269504089f, LOG_E_2 = 0.69314718056f;

// The bytes of a tile are announced before its slabs are loaded.
template <int HEAD> __device__ constexpr int tile_bytes(int rows) { return rows * HEAD * 2; }

template <int HEAD>
__device__ void load_slabs(void* tile, const TensorMap* map, uint64_t* full, int rows, int row, int head, int batch) {
    for (int slab = 0; slab < HEAD / SLAB; ++slab)
        tma_load(static_cast<unsigned char*>(tile) + slab * rows * SLAB * 2, map, full, slab * SLAB, row, head, batch);
}

// The weights, rounded, as the left factors of products over 16 keys each.
template <typename T, int N> __device__ void round_weights(uint32_t (&weights)[N / 8][4], const float (&products)[N]) {
#pragma unroll
    for (int i = 0; i < N / 2; ++i) weights[i / 4][i % 4] = pack_pair<T>(products[2 * i], products[2 * i + 1]);
}

// products (64, ROWS) of this warpgroup's rows, in a tile of 128, with those of a tile of ROWS; under way.
template <typename T, int HEAD, int ROWS>
__device__ void multiply_rows(float (&products)[ROWS / 2], const T* own, const T* other) {
    wgmma_hold(products);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < HEAD; k += 16) {
        const T* const a = own + k / SLAB * BLOCK_ROWS * SLAB + k % SLAB;
        const T* const b = other + k / SLAB * ROWS * SLAB + k % SLAB;
        wgmma<T, false>(products, wgmma_descriptor(a), wgmma_descriptor(b), k > 0);
    }
    wgmma_commit();
}

// sums (64, HEAD) += weights (64, ROWS) times a tile of (ROWS, HEAD); under way.
template <typename T, int HEAD, int ROWS>
__device__ void add_weighted(float (&sums)[HEAD / 2], const uint32_t (&weights)[ROWS / 16][4], const T* tile) {
    wgmma_hold(sums);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < ROWS / 16; ++k)
        wgmma<T, true>(sums, weights[k], wgmma_descriptor(tile + k * 16 * SLAB, ROWS * SLAB * 2), true);
    wgmma_commit();
}

// Of what wgmma computes, number i of a lane is in this column, and in the warpgroup's row row_of() or, `lower`, 8 below.
__device__ inline int column_of(int i) { return i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2; }
__device__ constexpr bool lower(int i) { return i / 2 % 2; }
__device__ inline int row_of() { return threadIdx.x % GROUP / 32 * 16 + threadIdx.x % 32 / 4; }

// Rows row and row + 8 of (64, HEAD), scaled by scale[0] and scale[1]; pitch: numbers from one row of `to` to the next.
template <typename T, int HEAD>
__device__ void store_rows(T* to, long long pitch, int row, int rows, int columns, const float (&sums)[HEAD / 2],
                           const float (&scale)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int i = row + half * 8;
        if (i >= rows) continue;
#pragma unroll
        for (int c = 0; c < HEAD / 8; ++c) {
            const int at = 4 * c + 2 * half, column = column_of(at);
            if (column < columns) // an even number: both or none
                *reinterpret_cast<uint32_t*>(to + i * pitch + column) =
                    pack_pair<T>(sums[at] * scale[half], sums[at + 1] * scale[half]);
        }
    }
}
