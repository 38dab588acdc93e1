// The gradients of attention on tensor cores: FlashAttention-2 (Dao 2023), algorithm 2, in two kernels, so that nothing is
// added in an order of chance. Built as attention_mma.cu. Not yet measured.

#include "attention_mma.cuh"

// What a query's products turn into weights with: 2^(unit * p - level). Infinity, for weights of 0, where it sees no key
// or does not exist.
__device__ inline float level_of(const float* logsumexp, int query, int queries) {
    const float log_sum = query < queries ? logsumexp[query] : -INFINITY_OF<float>;
    return log_sum == -INFINITY_OF<float> ? INFINITY_OF<float> : log_sum * LOG2_E;
}

// dq, a block a tile of 16 M WARPS queries, as in forward. Keys serve in two products, so that two tiles of keys and
// values take turns: while one is multiplied, the other comes.
template <typename T, int HEAD, int M, int KEYS, int WARPS, bool MASKED>
__global__ void __launch_bounds__(WARPS * 32, 8 / WARPS)
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
__global__ void __launch_bounds__(WARPS * 32, 8 / WARPS)
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
