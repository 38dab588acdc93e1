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
    static constexpr int UNROLL = HEAD < 128 ? HEAD / 16 : 2; // all of it needs more registers than there are
    static constexpr int PITCH = HEAD + 8; // of tiles: 8 rows of 16 bytes, as ldmatrix reads them, lie in all 32 banks

    // tile (ROWS, HEAD) <- rows (rows, columns), by a block of THREADS; nothing has arrived until it is waited for.
    template <int ROWS, int THREADS>
    static __device__ void load(T* tile, const T* from, long long stride, int rows, int columns) {
        constexpr int LANES = HEAD % 64 == 0 ? 8 : 4; // side by side in a row, while the others take the next rows
        const int row = threadIdx.x / LANES, column = threadIdx.x % LANES * 8;
        from += row * stride + column;
        tile += row * PITCH + column;
#pragma unroll
        for (int r = 0; r < ROWS; r += THREADS / LANES) {
#pragma unroll
            for (int c = 0; c < HEAD; c += LANES * 8)
                cp_async<16>(tile + r * PITCH + c, from + c, row + r < rows && column + c < columns);
            from += THREADS / LANES * stride;
        }
    }

    // sums (16 M, 8 N) += a (16 M, HEAD) b (8 N, HEAD)^T, both in shared memory. Fragments as in the PTX ISA: lane l
    // holds of each tile (16, 8) rows l / 4 and l / 4 + 8, columns l % 4 * 2 and the next.
    template <int M, int N> static __device__ void product_rows(float (&sums)[M][N][4], const T* a, const T* b) {
        const int lane = threadIdx.x % 32;
        a += lane % 16 * PITCH + lane / 16 * 8;
        b += (lane / 16 * 8 + lane % 8) * PITCH + lane / 8 % 2 * 8;
#pragma unroll UNROLL
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
        for (int i = lane; i < 16 * M * N; i += 32) {
            const int r = i / N, c = i % N * 8;
            if (r < rows && c < columns) store_pack(to + r * stride + c, load_pack(stage + r * PITCH + c));
        }
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

// One step of the online softmax of 16 rows, of which this lane has rows lane / 4 and lane / 4 + 8: products become
// weights, sums and totals shrink to the new largest product `top`. totals are of this lane's columns only.
template <int N, int COLUMNS>
__device__ void soften(float (&products)[N][4], float (&sums)[COLUMNS][4], float (&top)[2], float (&total)[2],
                       float unit) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float highest = top[half], sum = 0;
#pragma unroll
        for (int n = 0; n < N; ++n) highest = max_(highest, max_(products[n][half * 2], products[n][half * 2 + 1]));
        highest = warp_max<4>(highest);
        const float base = highest == -INFINITY_OF<float> ? 0 : highest * unit; // -inf - -inf would be NaN
#pragma unroll
        for (int n = 0; n < N; ++n) {
#pragma unroll
            for (int i = half * 2; i < half * 2 + 2; ++i) {
                products[n][i] = exp2_(products[n][i] * unit - base);
                sum += products[n][i];
            }
        }
        const float shrink = exp2_(top[half] * unit - base);
        total[half] = total[half] * shrink + sum;
        top[half] = highest;
        if (!__any_sync(0xffffffffu, shrink != 1)) continue; // most tiles raise no maximum
#pragma unroll
        for (int n = 0; n < COLUMNS; ++n) {
            sums[n][half * 2] *= shrink;
            sums[n][half * 2 + 1] *= shrink;
        }
    }
}

// A block a tile of 16 M WARPS queries; the last ones first, which see most keys if causal. One tile of keys and one of
// values: the values come while the keys are multiplied, the next keys while the values are.
template <typename T, int HEAD, int M, int KEYS, int WARPS, bool MASKED>
__global__ void __launch_bounds__(WARPS * 32, 2) attention_forward_mma(T* out, float* logsumexp, PROBLEM) {
    using Tile = Mma<T, HEAD>;
    constexpr int THREADS = WARPS * 32, ROWS = 16 * M * WARPS, PITCH = Tile::PITCH;
    DYNAMIC_SHARED(T, q); // (ROWS, PITCH); k and v (KEYS, PITCH)
    T *const k = q + ROWS * PITCH, *const v = k + KEYS * PITCH;

    const Problem<T> given = GIVEN_PROBLEM;
    const int tiles = ceil_div(queries, ROWS), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Place at(tiles, heads);
    const Mask<T> mask(given, at.batch, at.head);
    const float unit = MASKED ? LOG2_E : scale * LOG2_E; // e^score = 2^(unit * p)
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
        if (MASKED) add_mask<false>(p, mask, scale, own, start);
        if (start + KEYS > mask.seen_before(own + 1)) hide<false>(p, mask, own, start);

        cp_async_wait<0>();
        __syncthreads(); // v has come, k may go
        if (start + KEYS < seen) {
            const int next = start + KEYS;
            Tile::template load<KEYS, THREADS>(k, keys_at + next * key_row, key_row, keys - next, size);
            cp_async_commit();
        }
#pragma unroll
        for (int m = 0; m < M; ++m) soften(p[m], sums[m], top[m], total[m], unit);
        uint32_t weights[M][KEYS / 16][4];
        round_to<T>(weights, p);
        Tile::product_columns(sums, weights, v);
    }

#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float sum = warp_sum<4>(total[m][half]);
            const int i = own + m * 16 + half * 8 + lane / 4;
            if (lane % 4 == 0 && i < queries)
                logsumexp[(at.batch * (long long)heads + at.head) * queries + i] =
                    top[m][half] * unit * LN_2 + log_(sum);
            total[m][half] = sum == 0 ? 0 : 1 / sum;
        }
        multiply(sums[m], total[m][0], total[m][1]);
    }
    Tile::store(out + ((at.batch * (long long)queries + own) * heads + at.head) * value_size,
                (long long)heads * value_size, queries - own, value_size, q + warp * 16 * M * PITCH, sums);
}

// What a query's products turn into weights with: 2^(unit * p - level). Infinity, for weights of 0, where it sees no key
// or does not exist.
__device__ inline float level_of(const float* logsumexp, int query, int queries) {
    const float log_sum = query < queries ? logsumexp[query] : -INFINITY_OF<float>;
    return log_sum == -INFINITY_OF<float> ? INFINITY_OF<float> : log_sum * LOG2_E;
}

// dq, a block a tile of 16 M WARPS queries, as in forward. Keys and values are each used in two products or at once,
// so that two tiles of both take turns: one is multiplied, the other comes.
template <typename T, int HEAD, int M, int KEYS, int WARPS, bool MASKED>
__global__ void __launch_bounds__(WARPS * 32)
    attention_backward_query_mma(T* dq, const T* grad, const float* logsumexp, const float* delta,
                                 long long grad_batch, long long grad_head, long long grad_row, PROBLEM) {
    using Tile = Mma<T, HEAD>;
    constexpr int THREADS = WARPS * 32, ROWS = 16 * M * WARPS, PITCH = Tile::PITCH;
    DYNAMIC_SHARED(T, q); // (ROWS, PITCH), as g; two times k and v (KEYS, PITCH)
    T *const g = q + ROWS * PITCH, *const streamed = g + ROWS * PITCH;

    const Problem<T> given = GIVEN_PROBLEM;
    const int tiles = ceil_div(queries, ROWS), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Place at(tiles, heads);
    const Mask<T> mask(given, at.batch, at.head);
    const float unit = MASKED ? LOG2_E : scale * LOG2_E;
    const int first = (tiles - 1 - at.tile) * ROWS, own = first + warp * 16 * M, seen = mask.seen_before(first + ROWS);
    const T* const keys_at = key + given.key_by.of(at.batch, at.head / groups, 0);
    const T* const values_at = value + given.value_by.of(at.batch, at.head / groups, 0);
    const auto load_keys = [&](int start) {
        T* const k = streamed + start / KEYS % 2 * 2 * KEYS * PITCH;
        Tile::template load<KEYS, THREADS>(k, keys_at + start * key_row, key_row, keys - start, size);
        Tile::template load<KEYS, THREADS>(k + KEYS * PITCH, values_at + start * value_row, value_row, keys - start,
                                           value_size);
        cp_async_commit();
    };

    const long long n = (at.batch * (long long)heads + at.head) * queries; // in logsumexp and delta
    float sums[M][HEAD / 8][4] = {}, level[M][2], mean[M][2];
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int i = own + m * 16 + half * 8 + lane / 4;
            level[m][half] = level_of(logsumexp + n, i, queries);
            mean[m][half] = i < queries ? delta[n + i] : 0;
        }
    }
    if (seen > 0) {
        Tile::template load<ROWS, THREADS>(q, query + given.query_by.of(at.batch, at.head, first), query_row,
                                           queries - first, size);
        Tile::template load<ROWS, THREADS>(g, grad + Strides{grad_batch, grad_head, grad_row}.of(at.batch, at.head, first),
                                           grad_row, queries - first, value_size);
        load_keys(0);
    }
    for (int start = 0; start < seen; start += KEYS) {
        cp_async_wait<0>();
        __syncthreads(); // this tile has come, the other may go
        if (start + KEYS < seen) load_keys(start + KEYS);
        const T* const k = streamed + start / KEYS % 2 * 2 * KEYS * PITCH;
        float p[M][KEYS / 8][4] = {}, ds[M][KEYS / 8][4] = {};
        Tile::product_rows(p, q + warp * 16 * M * PITCH, k);
        if (MASKED) add_mask<false>(p, mask, scale, own, start);
        if (start + KEYS > mask.seen_before(own + 1)) hide<false>(p, mask, own, start);
        Tile::product_rows(ds, g + warp * 16 * M * PITCH, k + KEYS * PITCH);
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int c = 0; c < KEYS / 8; ++c) {
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    ds[m][c][i] = exp2_(p[m][c][i] * unit - level[m][i / 2]) * (ds[m][c][i] - mean[m][i / 2]);
            }
        }
        uint32_t weights[M][KEYS / 16][4];
        round_to<T>(weights, ds);
        Tile::product_columns(sums, weights, k);
    }
#pragma unroll
    for (int m = 0; m < M; ++m) multiply(sums[m], scale, scale);
    Tile::store(dq + ((at.batch * (long long)queries + own) * heads + at.head) * size, (long long)heads * size,
                queries - own, size, q + warp * 16 * M * PITCH, sums);
}

// dk and dv, a block a tile of 16 M WARPS / SPLIT keys: the products lie the other way round, keys down and queries
// across. Queries and dout stream past in two tiles each, of all heads that read the keys. SPLIT warps share 16 M keys:
// each forms all their weights, and sums a part of the columns, where a warp has too few registers for all.
template <typename T, int HEAD, int M, int QUERIES, int WARPS, int SPLIT, bool MASKED>
__global__ void __launch_bounds__(WARPS * 32)
    attention_backward_key_mma(T* dk, T* dv, const T* grad, const float* logsumexp, const float* delta,
                               long long grad_batch, long long grad_head, long long grad_row, PROBLEM) {
    using Tile = Mma<T, HEAD>;
    constexpr int THREADS = WARPS * 32, ROWS = 16 * M * WARPS / SPLIT, PITCH = Tile::PITCH, COLUMNS = HEAD / SPLIT;
    DYNAMIC_SHARED(T, k); // (ROWS, PITCH), as v; two times q and g (QUERIES, PITCH)
    T *const v = k + ROWS * PITCH, *const streamed = v + ROWS * PITCH;

    const Problem<T> given = GIVEN_PROBLEM;
    const int kv_heads = heads / groups, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const Place at(ceil_div(keys, ROWS), kv_heads);
    const float unit = MASKED ? LOG2_E : scale * LOG2_E;
    const int first = at.tile * ROWS, row = warp / SPLIT * 16 * M, own = first + row;
    const int column = warp % SPLIT * COLUMNS;
    // Steps: the tiles of queries that see any of the keys, head after head.
    const int first_tile = causal ? first / QUERIES : 0, tiles = max_(0, ceil_div(queries, QUERIES) - first_tile);
    const int steps = first < given.keys_of(at.batch) ? groups * tiles : 0;
    const auto load_queries = [&](int step) {
        const int head = at.head * groups + step / tiles, start = (first_tile + step % tiles) * QUERIES;
        T* const q = streamed + step % 2 * 2 * QUERIES * PITCH;
        Tile::template load<QUERIES, THREADS>(q, query + given.query_by.of(at.batch, head, start), query_row,
                                              queries - start, size);
        Tile::template load<QUERIES, THREADS>(q + QUERIES * PITCH,
                                              grad + Strides{grad_batch, grad_head, grad_row}.of(at.batch, head, start),
                                              grad_row, queries - start, value_size);
        cp_async_commit();
    };

    float to_k[M][COLUMNS / 8][4] = {}, to_v[M][COLUMNS / 8][4] = {};
    if (steps > 0) {
        Tile::template load<ROWS, THREADS>(k, key + given.key_by.of(at.batch, at.head, first), key_row, keys - first,
                                           size);
        Tile::template load<ROWS, THREADS>(v, value + given.value_by.of(at.batch, at.head, first), value_row,
                                           keys - first, value_size);
        load_queries(0);
    }
    for (int step = 0; step < steps; ++step) {
        const int head = at.head * groups + step / tiles, start = (first_tile + step % tiles) * QUERIES;
        const Mask<T> mask(given, at.batch, head);
        const long long n = (at.batch * (long long)heads + head) * queries; // in logsumexp and delta
        float level[QUERIES / 8][2], mean[QUERIES / 8][2];
#pragma unroll
        for (int c = 0; c < QUERIES / 8; ++c) {
#pragma unroll
            for (int side = 0; side < 2; ++side) {
                const int i = start + c * 8 + lane % 4 * 2 + side;
                level[c][side] = level_of(logsumexp + n, i, queries);
                mean[c][side] = i < queries ? delta[n + i] : 0;
            }
        }
        cp_async_wait<0>();
        __syncthreads(); // this tile has come, the other may go
        if (step + 1 < steps) load_queries(step + 1);
        const T *const q = streamed + step % 2 * 2 * QUERIES * PITCH, *const g = q + QUERIES * PITCH;

        float p[M][QUERIES / 8][4] = {}, ds[M][QUERIES / 8][4] = {};
        uint32_t weights[M][QUERIES / 16][4];
        Tile::product_rows(p, k + row * PITCH, q);
        if (MASKED) add_mask<true>(p, mask, scale, start, own);
        if (own + 16 * M > mask.seen_before(start + 1)) hide<true>(p, mask, start, own);
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int c = 0; c < QUERIES / 8; ++c) {
#pragma unroll
                for (int i = 0; i < 4; ++i) p[m][c][i] = exp2_(p[m][c][i] * unit - level[c][i % 2]);
            }
        }
        round_to<T>(weights, p);
        Tile::product_columns(to_v, weights, g + column);
        Tile::product_rows(ds, v + row * PITCH, g);
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int c = 0; c < QUERIES / 8; ++c) {
#pragma unroll
                for (int i = 0; i < 4; ++i) ds[m][c][i] = p[m][c][i] * (ds[m][c][i] - mean[c][i % 2]);
            }
        }
        round_to<T>(weights, ds);
        Tile::product_columns(to_k, weights, q + column);
    }
    __syncthreads(); // warps that share keys are done with them
#pragma unroll
    for (int m = 0; m < M; ++m) multiply(to_k[m], scale, scale);
    const long long at_key = (at.batch * (long long)keys + own) * kv_heads + at.head;
    Tile::store(dk + at_key * size + column, (long long)kv_heads * size, keys - own, size - column,
                k + row * PITCH + column, to_k);
    Tile::store(dv + at_key * value_size + column, (long long)kv_heads * value_size, keys - own, value_size - column,
                v + row * PITCH + column, to_v);
}
