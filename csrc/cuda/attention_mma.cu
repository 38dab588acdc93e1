// Attention as in attention.cu, on tensor cores: FlashAttention-2 (Dao 2023) with mma.sync, for 16-bit floats and sizes
// that are multiples of 8. Not yet measured.
//
// A block of WARPS warps keeps a tile of rows (queries; keys in backward_key), 16 M a warp, and streams past it tiles of
// the other side. Both lie in shared memory, filled by cp.async in pieces of 16 bytes, zeros beyond the edges. A warp
// multiplies its rows with a streamed tile (product_rows), turns the result in its registers into weights, and those
// are the left factor of the second product as they lie (product_columns). While one tile is multiplied, another comes.

#include "attention.cuh"
#include "ptx.cuh"

constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

template <typename T, int HEAD> struct Mma {
    static constexpr int PITCH = HEAD + 8; // of tiles: 8 rows of 16 bytes, as ldmatrix reads them, lie in all 32 banks

    // tile (ROWS, HEAD) <- rows (rows, columns), by a block of THREADS; nothing has arrived until it is waited for.
    template <int ROWS, int THREADS>
    static __device__ void load(T* tile, const T* from, long long stride, int rows, int columns) {
        constexpr int PIECES = HEAD / 8;
#pragma unroll
        for (int i = threadIdx.x; i < ROWS * PIECES; i += THREADS) {
            const int r = i / PIECES, c = i % PIECES * 8;
            const bool wanted = r < rows && c < columns;
            cp_async<16>(tile + r * PITCH + c, wanted ? from + r * stride + c : from, wanted);
        }
    }

    // sums (16 M, 8 N) += a (16 M, HEAD) b (8 N, HEAD)^T, both in shared memory. Fragments as in the PTX ISA: lane l
    // holds of each tile (16, 8) rows l / 4 and l / 4 + 8, columns l % 4 * 2 and the next.
    template <int M, int N> static __device__ void product_rows(float (&sums)[M][N][4], const T* a, const T* b) {
        const int lane = threadIdx.x % 32;
        a += lane % 16 * PITCH + lane / 16 * 8;
        b += (lane / 16 * 8 + lane % 8) * PITCH + lane / 8 % 2 * 8;
#pragma unroll
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

    // sums (16 M, 8 N) += weights (16 M, 8 K) b (8 K, 8 N): weights in registers, as sums above, b in shared memory.
    template <int M, int K, int N>
    static __device__ void product_columns(float (&sums)[M][N][4], const float (&weights)[M][K][4], const T* b) {
        const int lane = threadIdx.x % 32;
        b += lane % 16 * PITCH + lane / 16 * 8;
#pragma unroll
        for (int k = 0; k < K; k += 2) {
            uint32_t left[M][4];
#pragma unroll
            for (int m = 0; m < M; ++m) {
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    left[m][i] = pack_pair<T>(weights[m][k + i / 2][i % 2 * 2], weights[m][k + i / 2][i % 2 * 2 + 1]);
            }
#pragma unroll
            for (int n = 0; n < N; n += 2) {
                uint32_t right[4];
                ldmatrix_x4_trans(right, b + k * 8 * PITCH + n * 8);
                const uint32_t even[2] = {right[0], right[1]}, odd[2] = {right[2], right[3]};
#pragma unroll
                for (int m = 0; m < M; ++m) {
                    mma_m16n8k16<T>(sums[m][n], left[m], even);
                    mma_m16n8k16<T>(sums[m][n + 1], left[m], odd);
                }
            }
        }
    }

    // A warp's sums (16 M, 8 N), row r times factors[r], to rows (rows, columns) in memory; through `stage`, its own
    // rows of a tile that nobody reads any more, for stores of 16 bytes.
    template <int M, int N>
    static __device__ void store(T* to, long long stride, int rows, int columns, T* stage,
                                 const float (&sums)[M][N][4], const float (&factors)[M][2]) {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int n = 0; n < N; ++n) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    T* const at = stage + (m * 16 + half * 8 + lane / 4) * PITCH + n * 8 + lane % 4 * 2;
                    *reinterpret_cast<uint32_t*>(at) = pack_pair<T>(sums[m][n][half * 2] * factors[m][half],
                                                                    sums[m][n][half * 2 + 1] * factors[m][half]);
                }
            }
        }
        __syncwarp();
        for (int i = lane; i < 16 * M * N; i += 32) {
            const int r = i / N, c = i % N * 8;
            if (r < rows && c < columns) store_pack(to + r * stride + c, load_pack(stage + r * PITCH + c));
        }
    }
};

// The scores of a warp's tile that it has to look at one by one: before * score, seen through the mask. The element at
// row r, column c of the tile is that of query `query` + r and key `key` + c; of query + c and key + r if ACROSS.
template <bool ACROSS, typename T, int M, int N>
__device__ void see(float (&scores)[M][N][4], const Mask<T>& mask, float before, int query, int key) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int n = 0; n < N; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int r = m * 16 + i / 2 * 8 + lane / 4, c = n * 8 + lane % 4 * 2 + i % 2;
                scores[m][n][i] =
                    mask(before * scores[m][n][i], query + (ACROSS ? c : r), key + (ACROSS ? r : c));
            }
        }
    }
}

// How raw products become exponents of 2: e^score = 2^(unit * product). Folding the scale into the unit saves a
// multiplication a score; not with a bias, which is added to the scaled score, nor where the largest product is not the
// largest score.
struct Units {
    bool folded;
    float before, unit;
    __device__ Units(bool bias, float scale)
        : folded(!bias && scale > 0), before(folded ? 1 : scale), unit(folded ? scale * LOG2_E : LOG2_E) {}
};

// Largest and sum over a row of a warp's tile, which lies in four lanes.
__device__ inline float row_max(float x) {
    x = max_(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return max_(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ inline float row_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// One step of the online softmax: products become weights, sums and totals shrink to the new largest product `top`.
// totals are of this lane's columns only.
template <int M, int N, int COLUMNS>
__device__ void soften(float (&products)[M][N][4], float (&sums)[M][COLUMNS][4], float (&top)[M][2],
                       float (&total)[M][2], float unit) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float highest = top[m][half], sum = 0;
#pragma unroll
            for (int n = 0; n < N; ++n)
                highest = max_(highest, max_(products[m][n][half * 2], products[m][n][half * 2 + 1]));
            highest = row_max(highest);
            const float base = highest == -INFINITY_OF<float> ? 0 : highest * unit; // -inf - -inf would be NaN
#pragma unroll
            for (int n = 0; n < N; ++n) {
#pragma unroll
                for (int i = half * 2; i < half * 2 + 2; ++i) {
                    products[m][n][i] = exp2_(products[m][n][i] * unit - base);
                    sum += products[m][n][i];
                }
            }
            const float shrink = exp2_(top[m][half] * unit - base);
            total[m][half] = total[m][half] * shrink + sum;
            top[m][half] = highest;
#pragma unroll
            for (int n = 0; n < COLUMNS; ++n) {
                sums[m][n][half * 2] *= shrink;
                sums[m][n][half * 2 + 1] *= shrink;
            }
        }
    }
}

// A block a tile of 16 M WARPS queries; the last ones first, which see most keys if causal. One tile of keys and one of
// values: the values come while the keys are multiplied, the next keys while the values are.
template <typename T, int HEAD, int M, int KEYS, int WARPS>
__global__ void __launch_bounds__(WARPS * 32) attention_forward_mma(T* out, float* logsumexp, PROBLEM) {
    using Tile = Mma<T, HEAD>;
    constexpr int THREADS = WARPS * 32, ROWS = 16 * M * WARPS, PITCH = Tile::PITCH;
    DYNAMIC_SHARED(T, q); // (ROWS, PITCH); k and v (KEYS, PITCH)
    T *const k = q + ROWS * PITCH, *const v = k + KEYS * PITCH;

    const Problem<T> given = GIVEN_PROBLEM;
    const int tiles = ceil_div(queries, ROWS), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Place at(tiles, heads);
    const Mask<T> mask(given, at.batch, at.head);
    const Units units(bias, scale);
    const int first = (tiles - 1 - at.tile) * ROWS, own = first + warp * 16 * M, seen = mask.seen_before(first + ROWS);
    const T* const keys_at = key + given.key_by.of(at.batch, at.head / groups, 0);
    const T* const values_at = value + given.value_by.of(at.batch, at.head / groups, 0);

    float sums[M][HEAD / 8][4] = {}, top[M][2], total[M][2] = {};
    for (auto& pair : top) pair[0] = pair[1] = -INFINITY_OF<float>;
    if (seen > 0) {
        Tile::template load<ROWS, THREADS>(q, query + given.query_by.of(at.batch, at.head, first), query_row,
                                           queries - first, size);
        Tile::template load<KEYS, THREADS>(k, keys_at, key_row, keys, size);
        cp_async_commit();
    }
    for (int start = 0; start < seen; start += KEYS) {
        cp_async_wait<0>();
        __syncthreads(); // k has come, v may go
        Tile::template load<KEYS, THREADS>(v, values_at + start * value_row, value_row, keys - start, value_size);
        cp_async_commit();
        float p[M][KEYS / 8][4] = {};
        Tile::product_rows(p, q + warp * 16 * M * PITCH, k);
        if (bias || allowed || !units.folded || start + KEYS > mask.keys || (causal && start + KEYS > own + 1))
            see<false>(p, mask, units.before, own, start);

        cp_async_wait<0>();
        __syncthreads(); // v has come, k may go
        if (start + KEYS < seen) {
            const int next = start + KEYS;
            Tile::template load<KEYS, THREADS>(k, keys_at + next * key_row, key_row, keys - next, size);
            cp_async_commit();
        }
        soften(p, sums, top, total, units.unit);
        Tile::product_columns(sums, p, v);
    }

#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float sum = row_sum(total[m][half]);
            const int i = own + m * 16 + half * 8 + lane / 4;
            if (lane % 4 == 0 && i < queries)
                logsumexp[(at.batch * (long long)heads + at.head) * queries + i] =
                    top[m][half] * units.unit * LN_2 + log_(sum);
            total[m][half] = sum == 0 ? 0 : 1 / sum;
        }
    }
    Tile::store(out + ((at.batch * (long long)queries + own) * heads + at.head) * value_size,
                (long long)heads * value_size, queries - own, value_size, q + warp * 16 * M * PITCH, sums, total);
}
