// What the kernels of attention.cu and attention_mma.cu are told, and which keys a query sees.

#pragma once
#include "common.cuh"

// What every kernel is told; a launch passes only pointers and scalars, hence one by one.
#define PROBLEM                                                                                                       \
    const T *query, const T *key, const T *value, const T *bias, const bool *allowed, const int *lengths,             \
        long long query_batch, long long query_head, long long query_row, long long key_batch, long long key_head,    \
        long long key_row, long long value_batch, long long value_head, long long value_row, long long mask_batch,    \
        long long mask_head, long long mask_row, long long mask_column, int heads, int groups, int queries, int keys, \
        int size, int value_size, int causal, Compute<T> scale
#define GIVEN_PROBLEM                                                                                                 \
    {                                                                                                                 \
        query, key, value, bias, allowed, lengths, {query_batch, query_head, query_row},                              \
            {key_batch, key_head, key_row}, {value_batch, value_head, value_row}, {mask_batch, mask_head, mask_row},  \
            mask_column, heads, groups, queries, keys, size, value_size, causal, scale                                \
    }

struct Strides { // in elements
    long long batch, head, row;
    __device__ long long of(int b, int h, int r) const { return b * batch + h * head + r * row; }
};

template <typename T> struct Problem {
    const T *query, *key, *value;
    const T* bias;       // added to the scores (broadcast by strides of 0), or null
    const bool* allowed; // scores that count, or null; of bias and allowed at most one is given
    const int* lengths;  // keys that count in each batch row, or null
    Strides query_by, key_by, value_by, mask_by;
    long long mask_column;
    int heads, groups, queries, keys, size, value_size, causal;
    Compute<T> scale;

    __device__ int keys_of(int batch) const {
        return lengths ? max_(0, min_(lengths[batch], keys)) : keys;
    }
};

// Which keys the queries of one batch row and head see.
template <typename T> struct Mask {
    const T* bias;
    const bool* allowed;
    long long row, column;
    int queries, keys, causal;

    __device__ Mask(const Problem<T>& p, int batch, int head)
        : bias(p.bias ? p.bias + p.mask_by.of(batch, head, 0) : nullptr),
          allowed(p.allowed ? p.allowed + p.mask_by.of(batch, head, 0) : nullptr), row(p.mask_by.row),
          column(p.mask_column), queries(p.queries), keys(p.keys_of(batch)), causal(p.causal) {}

    // The score, with the bias if there is one; -infinity if the query does not see the key.
    __device__ Compute<T> operator()(Compute<T> score, int query, int key) const {
        if (query >= queries || key >= keys || (causal && key > query)) return -INFINITY_OF<Compute<T>>;
        const long long at = query * row + key * column;
        if (allowed && !allowed[at]) return -INFINITY_OF<Compute<T>>;
        return bias ? score + to_compute(bias[at]) : score;
    }

    // How many keys the queries before `end` see at most.
    __device__ int seen_before(int end) const { return causal ? min_(keys, end) : keys; }
};

// Which tile, head and batch row this block works on. Blocks of one head come one after the other: its keys and values
// stay in the L2 cache.
struct Place {
    int tile, head, batch;
    __device__ Place(int tiles, int heads)
        : tile(blockIdx.x % tiles), head(blockIdx.x / tiles % heads), batch(blockIdx.x / tiles / heads) {}
};

__device__ inline int ceil_div(int a, int b) { return (a + b - 1) / b; }
