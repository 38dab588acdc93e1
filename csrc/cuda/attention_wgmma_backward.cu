// Attention backward as in attention.cu, on Hopper, for what attention_wgmma.cu takes. Weights are computed again from the
// scores and logsumexp, P = e^(scale S - logsumexp), and with delta = rowsum(dO * O)
//
//   dV = P^T dO    dP = dO V^T    dS = P * (dP - delta)    dQ = scale dS K    dK = scale dS^T Q
//
// dQ is summed over keys, dK and dV over queries: two kernels, so that no sum depends on the order of blocks. That is seven
// products instead of five.
// Not yet measured.

#include "attention_wgmma.cuh"

// Shared memory of a block: two tiles of its own (of BLOCK_ROWS rows), and two a stage that stream past (of ROWS).
template <typename T, int HEAD, int ROWS, int STAGES> struct Pairs {
    static constexpr int OWN = BLOCK_ROWS * HEAD, OTHER = ROWS * HEAD; // numbers
    T *own[2], *other[2];                                               // other: of STAGES stages
    uint64_t *own_full, *full, *empty;

    __device__ explicit Pairs(unsigned char* shared) {
        own[0] = reinterpret_cast<T*>(shared);
        own[1] = own[0] + OWN;
        other[0] = own[1] + OWN;
        other[1] = other[0] + STAGES * OTHER;
        own_full = reinterpret_cast<uint64_t*>(other[1] + STAGES * OTHER);
        full = own_full + 1;
        empty = full + STAGES;
    }
    __device__ void init() const {
        mbarrier_init(own_full, 1);
        for (int s = 0; s < STAGES; ++s) {
            mbarrier_init(full + s, 1);
            mbarrier_init(empty + s, COMPUTING_WARPS);
        }
        mbarrier_init_fence();
    }
    __device__ void load_own(const TensorMap* first, const TensorMap* second, int row, int head, int batch) const {
        mbarrier_arrive_expect(own_full, 2 * tile_bytes<HEAD>(BLOCK_ROWS));
        load_slabs<HEAD>(own[0], first, own_full, BLOCK_ROWS, row, head, batch);
        load_slabs<HEAD>(own[1], second, own_full, BLOCK_ROWS, row, head, batch);
    }
    __device__ void load_other(int step, const TensorMap* first, const TensorMap* second, int row, int head,
                               int batch) const {
        const int s = step % STAGES;
        mbarrier_wait(empty + s, (step / STAGES + 1) % 2);
        mbarrier_arrive_expect(full + s, 2 * tile_bytes<HEAD>(ROWS));
        load_slabs<HEAD>(other[0] + s * OTHER, first, full + s, ROWS, row, head, batch);
        load_slabs<HEAD>(other[1] + s * OTHER, second, full + s, ROWS, row, head, batch);
    }
};

// A block a tile of 128 queries. maps: of query, grad, key and value. dq (N, queries, H, size) in memory.
template <typename T, int HEAD, int KEYS, int STAGES>
__global__ void __launch_bounds__(3 * GROUP, 1)
    attention_backward_query_wgmma(T* dq, const float* logsumexp, const float* delta, const TensorMap* maps,
                                   const int* lengths, int heads, int groups, int queries, int keys, int size,
                                   int causal, float scale) {
    DYNAMIC_SHARED(unsigned char, shared);
    const Pairs<T, HEAD, KEYS, STAGES> tiles(shared);
    const int tile_count = ceil_div(queries, BLOCK_ROWS), group = threadIdx.x / GROUP;
    const Place at(tile_count, heads);
    const int first = (tile_count - 1 - at.tile) * BLOCK_ROWS;
    const int length = lengths ? max_(0, min_(lengths[at.batch], keys)) : keys;
    const int steps = ceil_div(causal ? min_(length, first + BLOCK_ROWS) : length, KEYS);
    if (threadIdx.x == 0) tiles.init();
    __syncthreads();

    if (group == 0) {
        fewer_registers<24>();
        if (threadIdx.x != 0 || steps == 0) return;
        const TensorMap *query = maps, *grad = maps + 1, *key = maps + 2, *value = maps + 3;
        for (int i = 0; i < 4; ++i) tensor_map_acquire(maps + i);
        tiles.load_own(query, grad, first, at.head, at.batch);
        for (int step = 0; step < steps; ++step)
            tiles.load_other(step, key, value, step * KEYS, at.head / groups, at.batch);
    } else {
        more_registers<240>();
        const int mine = (group - 1) * GROUP_ROWS, row = first + mine + row_of(); // and row + 8
        const long long place = (at.batch * (long long)heads + at.head) * queries;
        const float unit = scale * LOG_2_E;
        float base[2], below[2]; // logsumexp as a power of 2, and delta
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int i = min_(row + half * 8, queries - 1);
            base[half] = logsumexp[place + i] * LOG_2_E;
            below[half] = delta[place + i];
        }

        float sums[HEAD / 2] = {};
        if (steps > 0) mbarrier_wait(tiles.own_full, 0);
        for (int step = 0; step < steps; ++step) {
            const int s = step % STAGES, start = step * KEYS;
            const T *const key = tiles.other[0] + s * tiles.OTHER, *const value = tiles.other[1] + s * tiles.OTHER;
            float p[KEYS / 2], slopes[KEYS / 2];
            mbarrier_wait(tiles.full + s, step / STAGES % 2);
            multiply_rows<T, HEAD, KEYS>(p, tiles.own[0] + mine * SLAB, key);
            multiply_rows<T, HEAD, KEYS>(slopes, tiles.own[1] + mine * SLAB, value);
            wgmma_wait<1>();
            wgmma_hold(p);
#pragma unroll
            for (int i = 0; i < KEYS / 2; ++i) {
                const int column = start + column_of(i);
                const bool seen = column < length && !(causal && column > row + lower(i) * 8);
                p[i] = seen ? exp2_(p[i] * unit - base[lower(i)]) : 0;
            }
            wgmma_wait<0>();
            wgmma_hold(slopes);
#pragma unroll
            for (int i = 0; i < KEYS / 2; ++i) slopes[i] = p[i] * (slopes[i] - below[lower(i)]);
            uint32_t weights[KEYS / 16][4];
            round_weights<T>(weights, slopes);
            add_weighted<T, HEAD, KEYS>(sums, weights, key);
            wgmma_wait<0>();
            wgmma_hold(sums);
            if (threadIdx.x % 32 == 0) mbarrier_arrive(tiles.empty + s);
        }
        const float scales[2] = {scale, scale};
        store_rows<T, HEAD>(dq + (at.batch * (long long)queries * heads + at.head) * size, (long long)heads * size, row,
                            queries, size, sums, scales);
    }
}

// A block a tile of 128 keys of a key head; past it stream the queries of all heads that read it. maps: of
// key, value, query and grad. dk (N, keys, K, size) and
// dv (N, keys, K, value_size) in memory.
template <typename T, int HEAD, int QUERIES, int STAGES>
__global__ void __launch_bounds__(3 * GROUP, 1)
    attention_backward_key_wgmma(T* dk, T* dv, const float* logsumexp, const float* delta, const TensorMap* maps,
                                 const int* lengths, int heads, int groups, int queries, int keys, int size,
                                 int value_size, int causal, float scale) {
    DYNAMIC_SHARED(unsigned char, shared);
    const Pairs<T, HEAD, QUERIES, STAGES> tiles(shared);
    const int key_heads = heads / groups, group = threadIdx.x / GROUP;
    const Place at(ceil_div(keys, BLOCK_ROWS), key_heads);
    const int first = at.tile * BLOCK_ROWS; // causal: most queries see the first keys
    const int length = lengths ? max_(0, min_(lengths[at.batch], keys)) : keys;
    const int begin = causal ? first / QUERIES : 0; // the first tile of queries that see a key of this block
    const int each = first < length ? max_(0, ceil_div(queries, QUERIES) - begin) : 0; // tiles of a head
    const int steps = groups * each;
    if (threadIdx.x == 0) tiles.init();
    __syncthreads();

    if (group == 0) {
        fewer_registers<24>();
        if (threadIdx.x != 0 || steps == 0) return;
        const TensorMap *key = maps, *value = maps + 1, *query = maps + 2, *grad = maps + 3;
        for (int i = 0; i < 4; ++i) tensor_map_acquire(maps + i);
        tiles.load_own(key, value, first, at.head, at.batch);
        for (int step = 0; step < steps; ++step)
            tiles.load_other(step, query, grad, (begin + step % each) * QUERIES, at.head * groups + step / each,
                             at.batch);
    } else {
        more_registers<240>();
        const int mine = (group - 1) * GROUP_ROWS, row = first + mine + row_of(); // a key, and row + 8
        const float unit = scale * LOG_2_E;
        float key_sums[HEAD / 2] = {}, value_sums[HEAD / 2] = {};
        if (steps > 0) mbarrier_wait(tiles.own_full, 0);
        for (int step = 0; step < steps; ++step) {
            const int s = step % STAGES, start = (begin + step % each) * QUERIES, head = at.head * groups + step / each;
            const long long place = (at.batch * (long long)heads + head) * queries;
            const T *const query = tiles.other[0] + s * tiles.OTHER, *const grad = tiles.other[1] + s * tiles.OTHER;
            float p[QUERIES / 2], slopes[QUERIES / 2];
            mbarrier_wait(tiles.full + s, step / STAGES % 2);
            multiply_rows<T, HEAD, QUERIES>(p, tiles.own[0] + mine * SLAB, query);
            multiply_rows<T, HEAD, QUERIES>(slopes, tiles.own[1] + mine * SLAB, grad);
            wgmma_wait<1>();
            wgmma_hold(p);
#pragma unroll
            for (int i = 0; i < QUERIES / 2; ++i) {
                const int column = start + column_of(i), key = row + lower(i) * 8;
                const bool seen = key < length && column < queries && !(causal && key > column);
                p[i] = seen ? exp2_(p[i] * unit - logsumexp[place + column] * LOG_2_E) : 0;
            }
            uint32_t weights[QUERIES / 16][4], slope_weights[QUERIES / 16][4];
            round_weights<T>(weights, p);
            add_weighted<T, HEAD, QUERIES>(value_sums, weights, grad);
            wgmma_wait<1>();
            wgmma_hold(slopes);
#pragma unroll
            for (int i = 0; i < QUERIES / 2; ++i)
                slopes[i] = p[i] * (slopes[i] - delta[place + min_(start + column_of(i), queries - 1)]);
            round_weights<T>(slope_weights, slopes);
            add_weighted<T, HEAD, QUERIES>(key_sums, slope_weights, query);
            wgmma_wait<0>();
            wgmma_hold(key_sums);
            wgmma_hold(value_sums);
            if (threadIdx.x % 32 == 0) mbarrier_arrive(tiles.empty + s);
        }
        const float scales[2] = {scale, scale}, ones[2] = {1, 1};
        const long long place = at.batch * (long long)keys * key_heads + at.head;
        store_rows<T, HEAD>(dk + place * size, (long long)key_heads * size, row, keys, size, key_sums, scales);
        store_rows<T, HEAD>(dv + place * value_size, (long long)key_heads * value_size, row, keys, value_size,
                            value_sums, ones);
    }
}
