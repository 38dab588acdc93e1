// Attention forward as in attention.cu, by what Hopper has: FlashAttention-3 (Shah et al. 2024) with wgmma and TMA, for
// 16-bit floats, sizes up to HEAD and no mask but causal and lengths.
// Not yet measured.
//
// A block works on 128 queries, and keys and values stream past (attention_wgmma.cuh). S = Q K^T of the next tile is under
// way in the tensor cores together with O += P V of this one, and then the softmax of the next is computed while O is.

#include "attention_wgmma.cuh"

// Shared memory of a block: tiles, then the barriers.
template <typename T, int HEAD, int KEYS, int STAGES> struct Stages {
    static constexpr int QUERY = BLOCK_ROWS * HEAD, TILE = KEYS * HEAD;
    T *query, *key, *value;
    uint64_t *query_full, *key_full, *key_empty, *value_full, *value_empty;

    __device__ explicit Stages(unsigned char* shared) {
        query = reinterpret_cast<T*>(shared);
        key = query + QUERY;
        value = key + STAGES * TILE;
        query_full = reinterpret_cast<uint64_t*>(value + STAGES * TILE);
        key_full = query_full + 1;
        key_empty = key_full + STAGES;
        value_full = key_empty + STAGES;
        value_empty = value_full + STAGES;
    }
    __device__ void init() const {
        mbarrier_init(query_full, 1);
        for (int s = 0; s < STAGES; ++s) {
            mbarrier_init(key_full + s, 1);
            mbarrier_init(value_full + s, 1);
            mbarrier_init(key_empty + s, COMPUTING_WARPS);
            mbarrier_init(value_empty + s, COMPUTING_WARPS);
        }
        mbarrier_init_fence();
    }
};

template <int HEAD>
__device__ void load_tile(void* tile, const TensorMap* map, uint64_t* full, int rows, int row, int head, int batch) {
    mbarrier_arrive_expect(full, tile_bytes<HEAD>(rows));
    load_slabs<HEAD>(tile, map, full, rows, row, head, batch);
}

// One step of the online softmax of this lane's two rows, as in attention_mma.cu: products become weights, and shrink[] is
// what sums of earlier weights have to be multiplied by.
template <int N>
__device__ void soften(float (&products)[N], float (&top)[2], float (&total)[2], float (&shrink)[2], float unit) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float highest = top[half], sum = 0;
#pragma unroll
        for (int i = 2 * half; i < N; i += 4) highest = max_(highest, max_(products[i], products[i + 1]));
        highest = warp_max<4>(highest);
        const float base = highest == -INFINITY_OF<float> ? 0 : highest * unit; // -inf - -inf would be NaN
#pragma unroll
        for (int i = 2 * half; i < N; i += 4) {
            products[i] = exp2_(products[i] * unit - base);
            products[i + 1] = exp2_(products[i + 1] * unit - base);
            sum += products[i] + products[i + 1];
        }
        shrink[half] = exp2_(top[half] * unit - base);
        total[half] = total[half] * shrink[half] + sum;
        top[half] = highest;
    }
}

// -infinity where a query does not see a key.
template <int N> __device__ void hide_keys(float (&products)[N], int row, int start, int keys, int causal) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
        const int key = start + column_of(i), query = row + lower(i) * 8;
        if (key >= keys || (causal && key > query)) products[i] = -INFINITY_OF<float>;
    }
}

// A block a tile of 128 queries; the last ones first, which see most keys if causal. maps: of query, key and value.
// out (N, queries, H, value_size) in memory, logsumexp (N, H, queries).
template <typename T, int HEAD, int KEYS, int STAGES>
__global__ void __launch_bounds__(3 * GROUP, 1)
    attention_forward_wgmma(T* out, float* logsumexp, const TensorMap* maps, const int* lengths, int heads, int groups,
                            int queries, int keys, int value_size, int causal, float scale) {
    DYNAMIC_SHARED(unsigned char, shared);
    const Stages<T, HEAD, KEYS, STAGES> stages(shared);
    const int tiles = ceil_div(queries, BLOCK_ROWS), group = threadIdx.x / GROUP;
    const Place at(tiles, heads);
    const int first = (tiles - 1 - at.tile) * BLOCK_ROWS;
    const int length = lengths ? max_(0, min_(lengths[at.batch], keys)) : keys;
    const int seen = causal ? min_(length, first + BLOCK_ROWS) : length; // by any query of the block
    const int steps = ceil_div(seen, KEYS);
    if (threadIdx.x == 0) stages.init();
    __syncthreads();

    if (group == 0) {
        fewer_registers<24>();
        if (threadIdx.x != 0) return;
        const TensorMap *query = maps, *key = maps + 1, *value = maps + 2;
        for (int i = 0; i < 3; ++i) tensor_map_acquire(maps + i);
        if (steps > 0) load_tile<HEAD>(stages.query, query, stages.query_full, BLOCK_ROWS, first, at.head, at.batch);
        for (int step = 0; step < steps; ++step) {
            const int s = step % STAGES, round = step / STAGES;
            mbarrier_wait(stages.key_empty + s, (round + 1) % 2);
            load_tile<HEAD>(stages.key + s * stages.TILE, key, stages.key_full + s, KEYS, step * KEYS, at.head / groups,
                            at.batch);
            mbarrier_wait(stages.value_empty + s, (round + 1) % 2);
            load_tile<HEAD>(stages.value + s * stages.TILE, value, stages.value_full + s, KEYS, step * KEYS,
                            at.head / groups, at.batch);
        }
    } else {
        more_registers<240>();
        const int mine = (group - 1) * GROUP_ROWS, lane = threadIdx.x % 32;
        const int row = first + mine + row_of(); // and row + 8
        const T* const query = stages.query + mine * SLAB;
        const bool tells = lane == 0; // that its warp has done with a stage
        const float unit = scale * LOG_2_E; // e^score = 2^(unit * product)

        float sums[HEAD / 2] = {}, products[KEYS / 2], top[2], total[2] = {}, shrink[2];
        uint32_t weights[KEYS / 16][4];
        top[0] = top[1] = -INFINITY_OF<float>;
        const auto soften_tile = [&](int step) {
            const int start = step * KEYS, edge = causal ? min_(length, first + mine + 1) : length;
            if (start + KEYS > edge) hide_keys(products, row, start, length, causal);
            soften(products, top, total, shrink, unit);
        };
        if (steps > 0) {
            mbarrier_wait(stages.query_full, 0);
            mbarrier_wait(stages.key_full, 0);
            multiply_rows<T, HEAD, KEYS>(products, query, stages.key);
            wgmma_wait<0>();
            wgmma_hold(products);
            if (tells) mbarrier_arrive(stages.key_empty);
            soften_tile(0);
            round_weights<T>(weights, products);
        }
        for (int next = 1; next < steps; ++next) { // its keys, and the values of the step before
            const int s = next % STAGES, before = (next - 1) % STAGES;
            mbarrier_wait(stages.key_full + s, next / STAGES % 2);
            multiply_rows<T, HEAD, KEYS>(products, query, stages.key + s * stages.TILE);
            mbarrier_wait(stages.value_full + before, (next - 1) / STAGES % 2);
            add_weighted<T, HEAD, KEYS>(sums, weights, stages.value + before * stages.TILE);
            wgmma_wait<1>();
            wgmma_hold(products);
            if (tells) mbarrier_arrive(stages.key_empty + s);
            soften_tile(next);
            wgmma_wait<0>();
            wgmma_hold(sums);
            if (tells) mbarrier_arrive(stages.value_empty + before);
#pragma unroll
            for (int i = 0; i < HEAD / 2; ++i) sums[i] *= shrink[lower(i)];
            round_weights<T>(weights, products);
        }
        if (steps > 0) {
            const int s = (steps - 1) % STAGES;
            mbarrier_wait(stages.value_full + s, (steps - 1) / STAGES % 2);
            add_weighted<T, HEAD, KEYS>(sums, weights, stages.value + s * stages.TILE);
            wgmma_wait<0>();
            wgmma_hold(sums);
        }

        float share[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float sum = warp_sum<4>(total[half]);
            const int i = row + half * 8;
            share[half] = sum == 0 ? 0 : 1 / sum;
            if (lane % 4 == 0 && i < queries)
                logsumexp[(at.batch * (long long)heads + at.head) * queries + i] =
                    top[half] * unit * LOG_E_2 + log_(sum);
        }
        store_rows<T, HEAD>(out + (at.batch * (long long)queries * heads + at.head) * value_size,
                            (long long)heads * value_size, row, queries, value_size, sums, share);
    }
}
