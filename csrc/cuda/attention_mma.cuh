// What a warp does in the kernels of attention_mma.cu and attention_mma_backward.cu: tiles into shared memory, products of
// tiles on tensor cores, masks, results out.

#pragma once
#include "attention.cuh"
#include "ptx.cuh"

constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

template <typename T, int HEAD> struct Mma {
    static constexpr int PITCH = HEAD + 8; // of tiles: 8 rows of 16 bytes, as ldmatrix reads them, lie in all 32 banks

    // A tile goes in and out in pieces of 16 bytes, by LANES neighbours a row. Where these are 4, and 8 lanes at once take
    // pieces of two rows, the rows are 4 apart: the next one lies in the same banks in part.
    static constexpr int LANES = HEAD % 64 == 0 ? 8 : 4;
    static __device__ int row_of(int thread) {
        const int n = thread / LANES;
        return LANES == 8 ? n : n / 8 * 8 + n % 2 * 4 + n % 8 / 2;
    }

    // tile (ROWS, HEAD) <- rows (rows, columns), by a block of THREADS; nothing has arrived until it is waited for.
    template <int ROWS, int THREADS>
    static __device__ void load(T* tile, const T* from, long long stride, int rows, int columns) {
        constexpr int AT_ONCE = THREADS / LANES; // rows
        const int row = row_of(threadIdx.x), column = threadIdx.x % LANES * 8;
        from += row * stride + column;
        tile += row * PITCH + column;
#pragma unroll
        for (int r = 0; r < ROWS; r += AT_ONCE) {
            if (ROWS % AT_ONCE == 0 || row + r < ROWS) {
#pragma unroll
                for (int c = 0; c < HEAD; c += LANES * 8)
                    cp_async<16>(tile + r * PITCH + c, from + c, row + r < rows && column + c < columns);
            }
            from += AT_ONCE * stride;
        }
    }

    // sums (16 M, 8 N) += a (16 M, HEAD) b (8 N, HEAD)^T, both in shared memory. Fragments as in the PTX ISA: lane l
    // holds of each tile (16, 8) rows l / 4 and l / 4 + 8, columns l % 4 * 2 and the next.
    template <int M, int N> static __device__ void product_rows(float (&sums)[M][N][4], const T* a, const T* b) {
        const int lane = threadIdx.x % 32;
        a += lane % 16 * PITCH + lane / 16 * 8;
        b += (lane / 16 * 8 + lane % 8) * PITCH + lane / 8 % 2 * 8;
#pragma unroll 2 // all of it needs more registers than there are
        for (int k = 0; k < HEAD / 16; ++k) {
            uint32_t left[M][4];
#pragma unroll
            for (int m = 0; m < M; ++m) ldmatrix_x4(left[m], a + m * 16 * PITCH + k * 16);
#pragma unroll
            for (int n = 0; n < N; n += 2) {
                uint32_t right[4];
                ldmatrix_x4(right, b + n * 8 * PITCH + k * 16);
                const uint32_t even[2] = {right[0], right[1]}, odd[2] = {right[2], right[3]};
#pragma unroll
                for (int m = 0; m < M; ++m) {
                    mma_m16n8k16<T>(sums[m][n], left[m], even);
                    mma_m16n8k16<T>(sums[m][n + 1], left[m], odd);
                }
            }
        }
    }

    // sums (16 M, 8 N) += weights (16 M, 16 K) b (16 K, 8 N), b in shared memory.
    template <int M, int K, int N>
    static __device__ void product_columns(float (&sums)[M][N][4], const uint32_t (&weights)[M][K][4], const T* b) {
        const int lane = threadIdx.x % 32;
        b += lane % 16 * PITCH + lane / 16 * 8;
#pragma unroll
        for (int k = 0; k < K; ++k) {
#pragma unroll
            for (int n = 0; n < N; n += 2) {
                uint32_t right[4];
                ldmatrix_x4_trans(right, b + k * 16 * PITCH + n * 8);
                const uint32_t even[2] = {right[0], right[1]}, odd[2] = {right[2], right[3]};
#pragma unroll
                for (int m = 0; m < M; ++m) {
                    mma_m16n8k16<T>(sums[m][n], weights[m][k], even);
                    mma_m16n8k16<T>(sums[m][n + 1], weights[m][k], odd);
                }
            }
        }
    }

    // A warp's sums (16 M, 8 N) to rows (rows, columns) in memory; through `stage`, its own rows of a tile that nobody
    // reads any more, for stores of 16 bytes.
    template <int M, int N>
    static __device__ void store(T* to, long long stride, int rows, int columns, T* stage,
                                 const float (&sums)[M][N][4]) {
        const int lane = threadIdx.x % 32;
        __syncwarp(); // all lanes are done with these rows
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int n = 0; n < N; ++n) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    T* const at = stage + (m * 16 + half * 8 + lane / 4) * PITCH + n * 8 + lane % 4 * 2;
                    *reinterpret_cast<uint32_t*>(at) = pack_pair<T>(sums[m][n][half * 2], sums[m][n][half * 2 + 1]);
                }
            }
        }
        __syncwarp();
        for (int r = row_of(lane); r < 16 * M; r += 32 / LANES)
            for (int c = lane % LANES * 8; c < 8 * N; c += LANES * 8)
                if (r < rows && c < columns) store_pack(to + r * stride + c, load_pack(stage + r * PITCH + c));
    }
};

// 16 rows of a warp times a number for each.
template <int N> __device__ void multiply(float (&rows)[N][4], float upper, float lower) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
        rows[n][0] *= upper, rows[n][1] *= upper;
        rows[n][2] *= lower, rows[n][3] *= lower;
    }
}

// A warp's tile of scores has queries down and keys across, from query `query` and key `key`; if ACROSS the other way.
// hide makes -infinity of what causality and the number of keys hide.
template <bool ACROSS, typename T, int M, int N>
__device__ void hide(float (&scores)[M][N][4], const Mask<T>& mask, int query, int key) {
    const int lane = threadIdx.x % 32, column = lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int r = m * 16 + half * 8 + lane / 4;
            int from = 0, to = 8 * N; // the columns that count
            if (ACROSS) {
                if (mask.causal) from = key + r - query;
                if (key + r >= mask.keys) from = 8 * N;
            } else {
                to = mask.seen_before(query + r + 1) - key;
            }
#pragma unroll
            for (int n = 0; n < N; ++n) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const bool counts = ACROSS ? n * 8 + i >= from - column : n * 8 + i < to - column;
                    if (!counts) scores[m][n][half * 2 + i] = -INFINITY_OF<float>;
                }
            }
        }
    }
}

// scale * products, with what the mask in memory says.
template <bool ACROSS, typename T, int M, int N>
__device__ void add_mask(float (&products)[M][N][4], const Mask<T>& mask, float scale, int query, int key) {
    const int lane = threadIdx.x % 32;
    const long long down = ACROSS ? mask.column : mask.row, across = ACROSS ? mask.row : mask.column;
    const int rows = ACROSS ? mask.keys - key : mask.queries - query;
    const int columns = ACROSS ? mask.queries - query : mask.keys - key;
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int r = m * 16 + half * 8 + lane / 4;
            long long at = query * mask.row + key * mask.column + r * down + lane % 4 * 2 * across;
#pragma unroll
            for (int n = 0; n < N; ++n) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    float& score = products[m][n][half * 2 + i];
                    score *= scale;
                    if (r < rows && n * 8 + lane % 4 * 2 + i < columns) {
                        if (mask.bias) score += to_compute(mask.bias[at]);
                        if (mask.allowed && !mask.allowed[at]) score = -INFINITY_OF<float>;
                    }
                    at += i == 0 ? across : 7 * across;
                }
            }
        }
    }
}

// A warp's tile (16 M, 8 N) in float as the left factor of a product: the lanes' elements stay where they are.
template <typename T, int M, int N>
__device__ void round_to(uint32_t (&left)[M][N / 2][4], const float (&tile)[M][N][4]) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int n = 0; n < N; ++n) {
            left[m][n / 2][n % 2 * 2] = pack_pair<T>(tile[m][n][0], tile[m][n][1]);
            left[m][n / 2][n % 2 * 2 + 1] = pack_pair<T>(tile[m][n][2], tile[m][n][3]);
        }
    }
}
