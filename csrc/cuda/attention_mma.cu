// Attention as in attention.cu, on tensor cores: FlashAttention-2 (Dao 2023) with mma.sync, for 16-bit floats and sizes
// that are multiples of 8. Backward is in attention_mma_backward.cu.
// Not yet measured.
//
// A block of WARPS warps keeps a tile of rows (queries; keys in backward_key), 16 M a warp, and streams past it tiles of
// the other side. Both lie in shared memory, filled by cp.async in pieces of 16 bytes, zeros beyond the edges. A warp
// multiplies its rows with a streamed tile (product_rows), turns the result in its registers into weights, and those
// are the left factor of the second product as they lie (product_columns). While one tile is multiplied, another comes.

#include "attention_mma.cuh"

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
