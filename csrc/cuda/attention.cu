// Scaled dot-product attention: out = softmax(scale query key^T + mask) value, the softmax over the keys, tile by tile,
// so that the scores never exist as a whole: FlashAttention-2 (Dao 2023), algorithms 1 and 2.
//
// Per batch row and head: query (L, E), key (S, E), value (S, F). Query head h reads the key and value head h / groups.
// query, key, value and the gradient of out have any strides with the last axis contiguous; results are (N, L or S,
// heads, E or F) in memory, as the layers before and after want them. Kept for backward: out, and per query
// logsumexp (N, H, L) = log(sum over the keys of e^score), -infinity for a query that sees no key; its out is 0.
//
// Backward needs no atomics, so that the same inputs give the same bits: one kernel goes over the keys for each tile of
// queries (dq), one over the queries for each tile of keys (dk, dv). Both form the scores again; FlashAttention-2 does
// so once, and adds to dq in whatever order its blocks come.
//
// Versions, each with forward, backward_query and backward_key:
//   clear, here: any type, sizes up to 256; scalar products in the type's compute type. Not yet measured.
//   mma, attention_mma.cu and attention_mma_backward.cu: 16-bit floats, tensor cores. Not yet measured.

#include "attention.cuh"
constexpr int THREADS = 128;

template <typename T, int HEAD> struct Clear {
    using Real = Compute<T>;
    static constexpr int ROWS = HEAD < 64 ? 32 : 2048 / HEAD; // of a tile of queries or keys: 8 KB of float
    static constexpr int PARTS = THREADS / ROWS;              // threads a row, all of one warp
    static constexpr int PITCH = HEAD + 1;                    // of a tile: a column lies in different banks
    static constexpr int P_PITCH = ROWS + PARTS;              // of weights (ROWS, ROWS): so do a warp's elements
    static constexpr int OWN = HEAD / PARTS;                  // columns of a thread: part, part + PARTS, ...

    // rows (rows, columns) into a tile (ROWS, HEAD); zeros where there are none.
    static __device__ void load(Real* tile, const T* from, long long stride, int rows, int columns) {
        for (int i = threadIdx.x; i < ROWS * HEAD; i += THREADS) {
            const int r = i / HEAD, c = i % HEAD;
            tile[r * PITCH + c] = r < rows && c < columns ? to_compute(from[r * stride + c]) : Real(0);
        }
    }

    static __device__ Real dot(const Real* a, const Real* b, int size) {
        Real sum = 0;
        for (int c = 0; c < size; ++c) sum += a[c] * b[c];
        return sum;
    }

    // sums += weights (ROWS) rows (ROWS, HEAD): this thread's columns.
    static __device__ void add_weighted(Real (&sums)[OWN], const Real* weights, const Real* rows, int part) {
        for (int r = 0; r < ROWS; ++r) {
#pragma unroll
            for (int c = 0; c < OWN; ++c) sums[c] += weights[r] * rows[r * PITCH + part + c * PARTS];
        }
    }

    static __device__ void store(T* to, const Real (&sums)[OWN], Real factor, int part, int columns) {
#pragma unroll
        for (int c = 0; c < OWN; ++c)
            if (part + c * PARTS < columns) to[part + c * PARTS] = from_compute<T>(sums[c] * factor);
    }
};

// One block per tile of queries. With m the largest score so far, each tile of keys makes
//   l <- l e^(m_old - m) + sum e^(s - m),   o <- o e^(m_old - m) + e^(s - m) v,   and at the end out = o / l.
template <typename T, int HEAD>
__global__ void __launch_bounds__(THREADS, 3) attention_forward(T* out, Compute<T>* logsumexp, PROBLEM) {
    using Tile = Clear<T, HEAD>;
    using Real = Compute<T>;
    constexpr int ROWS = Tile::ROWS, PARTS = Tile::PARTS, PITCH = Tile::PITCH, P_PITCH = Tile::P_PITCH;
    DYNAMIC_SHARED(Real, q); // (ROWS, PITCH), as k and v; p is (ROWS, P_PITCH)
    Real *const k = q + ROWS * PITCH, *const v = k + ROWS * PITCH, *const p = v + ROWS * PITCH;

    const Problem<T> given = GIVEN_PROBLEM;
    const Place at(ceil_div(queries, ROWS), heads);
    const Mask<T> mask(given, at.batch, at.head);
    const int row = threadIdx.x / PARTS, part = threadIdx.x % PARTS;
    const int first = at.tile * ROWS, i = first + row, seen = mask.seen_before(first + ROWS);

    Real sums[Tile::OWN] = {}, top = -INFINITY_OF<Real>, total = 0;
    Tile::load(q, query + given.query_by.of(at.batch, at.head, first), query_row, queries - first, size);
    for (int start = 0; start < seen; start += ROWS) {
        const int kv_head = at.head / groups;
        __syncthreads(); // all are done with the tiles before
        Tile::load(k, key + given.key_by.of(at.batch, kv_head, start), key_row, keys - start, size);
        Tile::load(v, value + given.value_by.of(at.batch, kv_head, start), value_row, keys - start, value_size);
        __syncthreads();

        Real highest = top, sum = 0;
        for (int j = part; j < ROWS; j += PARTS) {
            const Real score = mask(scale * Tile::dot(q + row * PITCH, k + j * PITCH, size), i, start + j);
            p[row * P_PITCH + j] = score;
            highest = max_(highest, score);
        }
        highest = warp_max<PARTS>(highest);
        const Real base = highest == -INFINITY_OF<Real> ? 0 : highest; // -inf - -inf would be NaN
        for (int j = part; j < ROWS; j += PARTS) {
            const Real e = exp_(p[row * P_PITCH + j] - base);
            p[row * P_PITCH + j] = e;
            sum += e;
        }
        const Real shrink = exp_(top - base);
        total = total * shrink + warp_sum<PARTS>(sum);
        for (Real& x : sums) x *= shrink;
        __syncwarp(); // the row's p is whole
        Tile::add_weighted(sums, p + row * P_PITCH, v, part);
        top = highest;
    }
    if (i >= queries) return;
    Tile::store(out + ((at.batch * (long long)queries + i) * heads + at.head) * value_size, sums,
                total == 0 ? 0 : 1 / total, part, value_size);
    if (part == 0) logsumexp[(at.batch * (long long)heads + at.head) * queries + i] = top + log_(total);
}

// delta (N, H, L) = sum over columns of dout out: what the softmax's gradient subtracts. A warp a query.
template <typename T>
__global__ void attention_delta(Compute<T>* delta, const T* grad, const T* out, long long grad_batch,
                                long long grad_head, long long grad_row, long long out_batch, long long out_head,
                                long long out_row, int heads, int queries, int value_size, long long count) {
    const long long n = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (n >= count) return;
    const int i = n % queries, head = n / queries % heads, batch = n / queries / heads;
    const T* const g = grad + Strides{grad_batch, grad_head, grad_row}.of(batch, head, i);
    const T* const o = out + Strides{out_batch, out_head, out_row}.of(batch, head, i);
    Compute<T> sum = 0;
    for (int c = threadIdx.x % 32; c < value_size; c += 32) sum += to_compute(g[c]) * to_compute(o[c]);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) delta[n] = sum;
}

// With p = e^(score - logsumexp), dp = dout value^T and ds = p (dp - delta):  dq = scale ds key. A block a tile of queries.
template <typename T, int HEAD>
__global__ void __launch_bounds__(THREADS, 3)
    attention_backward_query(T* dq, const T* grad, const Compute<T>* logsumexp, const Compute<T>* delta,
                             long long grad_batch, long long grad_head, long long grad_row, PROBLEM) {
    using Tile = Clear<T, HEAD>;
    using Real = Compute<T>;
    constexpr int ROWS = Tile::ROWS, PARTS = Tile::PARTS, PITCH = Tile::PITCH, P_PITCH = Tile::P_PITCH;
    DYNAMIC_SHARED(Real, q); // (ROWS, PITCH), as g, k and v; ds is (ROWS, P_PITCH)
    Real *const g = q + ROWS * PITCH, *const k = g + ROWS * PITCH, *const v = k + ROWS * PITCH;
    Real* const ds = v + ROWS * PITCH;

    const Problem<T> given = GIVEN_PROBLEM;
    const Place at(ceil_div(queries, ROWS), heads);
    const Mask<T> mask(given, at.batch, at.head);
    const int row = threadIdx.x / PARTS, part = threadIdx.x % PARTS;
    const int first = at.tile * ROWS, i = first + row, seen = mask.seen_before(first + ROWS);
    const long long n = (at.batch * (long long)heads + at.head) * queries + i; // in logsumexp and delta
    const Real log_sum = i < queries ? logsumexp[n] : 0, mean = i < queries ? delta[n] : 0;

    Real sums[Tile::OWN] = {};
    Tile::load(q, query + given.query_by.of(at.batch, at.head, first), query_row, queries - first, size);
    Tile::load(g, grad + Strides{grad_batch, grad_head, grad_row}.of(at.batch, at.head, first), grad_row,
               queries - first, value_size);
    for (int start = 0; start < seen; start += ROWS) {
        const int kv_head = at.head / groups;
        __syncthreads(); // all are done with the tiles before
        Tile::load(k, key + given.key_by.of(at.batch, kv_head, start), key_row, keys - start, size);
        Tile::load(v, value + given.value_by.of(at.batch, kv_head, start), value_row, keys - start, value_size);
        __syncthreads();
        for (int j = part; j < ROWS; j += PARTS) {
            const Real score = mask(scale * Tile::dot(q + row * PITCH, k + j * PITCH, size), i, start + j);
            const Real p = score == -INFINITY_OF<Real> ? 0 : exp_(score - log_sum); // log_sum too may be -infinity
            ds[row * P_PITCH + j] = p * (Tile::dot(g + row * PITCH, v + j * PITCH, value_size) - mean);
        }
        __syncwarp(); // the row's ds is whole
        Tile::add_weighted(sums, ds + row * P_PITCH, k, part);
    }
    if (i < queries)
        Tile::store(dq + ((at.batch * (long long)queries + i) * heads + at.head) * size, sums, scale, part, size);
}

// dv = p^T dout, dk = scale ds^T query, over all queries of all heads that read the key. A block a tile of keys.
template <typename T, int HEAD>
__global__ void __launch_bounds__(THREADS, 3)
    attention_backward_key(T* dk, T* dv, const T* grad, const Compute<T>* logsumexp, const Compute<T>* delta,
                           long long grad_batch, long long grad_head, long long grad_row, PROBLEM) {
    using Tile = Clear<T, HEAD>;
    using Real = Compute<T>;
    constexpr int ROWS = Tile::ROWS, PARTS = Tile::PARTS, PITCH = Tile::PITCH, P_PITCH = Tile::P_PITCH;
    DYNAMIC_SHARED(Real, k); // (ROWS, PITCH), as v, q and g; p and ds are (ROWS, P_PITCH), a row a key
    Real *const v = k + ROWS * PITCH, *const q = v + ROWS * PITCH, *const g = q + ROWS * PITCH;
    Real *const p = g + ROWS * PITCH, *const ds = p + ROWS * P_PITCH;

    const Problem<T> given = GIVEN_PROBLEM;
    const int kv_heads = heads / groups;
    const Place at(ceil_div(keys, ROWS), kv_heads);
    const int row = threadIdx.x / PARTS, part = threadIdx.x % PARTS;
    const int first = at.tile * ROWS, j = first + row;

    Real to_k[Tile::OWN] = {}, to_v[Tile::OWN] = {};
    Tile::load(k, key + given.key_by.of(at.batch, at.head, first), key_row, keys - first, size);
    Tile::load(v, value + given.value_by.of(at.batch, at.head, first), value_row, keys - first, value_size);
    for (int head = at.head * groups; head < (at.head + 1) * groups; ++head) {
        const Mask<T> mask(given, at.batch, head);
        const long long n = (at.batch * (long long)heads + head) * queries; // in logsumexp and delta
        for (int start = causal ? first : 0; start < queries && first < mask.keys; start += ROWS) {
            __syncthreads(); // all are done with the tiles before
            Tile::load(q, query + given.query_by.of(at.batch, head, start), query_row, queries - start, size);
            Tile::load(g, grad + Strides{grad_batch, grad_head, grad_row}.of(at.batch, head, start), grad_row,
                       queries - start, value_size);
            __syncthreads();
            for (int r = part; r < ROWS; r += PARTS) {
                const int i = start + r;
                const Real score = mask(scale * Tile::dot(q + r * PITCH, k + row * PITCH, size), i, j);
                const Real e = score == -INFINITY_OF<Real> ? 0 : exp_(score - logsumexp[n + i]);
                const Real mean = i < queries ? delta[n + i] : 0;
                p[row * P_PITCH + r] = e;
                ds[row * P_PITCH + r] = e * (Tile::dot(g + r * PITCH, v + row * PITCH, value_size) - mean);
            }
            __syncwarp(); // the row's p and ds are whole
            Tile::add_weighted(to_v, p + row * P_PITCH, g, part);
            Tile::add_weighted(to_k, ds + row * P_PITCH, q, part);
        }
    }
    if (j >= keys) return;
    const long long at_key = (at.batch * (long long)keys + j) * kv_heads + at.head;
    Tile::store(dk + at_key * size, to_k, scale, part, size);
    Tile::store(dv + at_key * value_size, to_v, 1, part, value_size);
}
