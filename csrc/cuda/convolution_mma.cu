// Convolution as a product of matrices on tensor cores: channels last (NHWC, filters (O, R, S, C / groups)), channels of
// every group in multiples of 16 bytes. See convolution.cuh for the matrices.
//
// Version "mma": __half and __nv_bfloat16, sums in float32. Not yet measured.
// Version "tf32": float, rounded to 10 bits of mantissa before it is multiplied; sums in float32. Not yet measured.
//
// A block computes a tile SIZE x SIZE of the result, each warp a part of WARP_M x WARP_N. Along the summed index, STAGES
// tiles of A and B of 64 bytes an element of the result are in shared memory or on their way there (cp.async), 16 bytes a
// copy: 8 channels (4 of tf32) of one pixel. Which pixel, tap and channel a thread copies next is counted like a clock,
// so the loop has no divisions. Offsets within one image and within the filter fit in 32 bits; the launcher sees to it.
#include "convolution.cuh"
#include "ptx.cuh"

constexpr int STAGES = 3;
constexpr int STEP_BYTES = 64;                      // of the summed index, in one tile
constexpr int CHUNK_BYTES = 16, CHUNKS = STEP_BYTES / CHUNK_BYTES;
constexpr int COPIES = 2;                           // a thread, of each matrix, for each tile: see Shape

// What follows from the size of a tile of the result and the type.
template <typename T, int SIZE_>
struct Shape {
  static constexpr int SIZE = SIZE_;
  static constexpr int WARP_M = SIZE == 128 ? 64 : 32, WARP_N = 32;
  static constexpr int THREADS = SIZE / WARP_M * (SIZE / WARP_N) * 32;
  static constexpr int CHUNK = CHUNK_BYTES / sizeof(T);  // elements
  static constexpr int STEP = STEP_BYTES / sizeof(T);    // elements of the summed index in a tile
  static constexpr int ROW_CHUNKS = SIZE / CHUNK;        // of a tile that lies along the result
  static constexpr int TILE_BYTES = SIZE * STEP_BYTES;
  static constexpr int COPY_BYTES = TILE_BYTES / COPIES;  // between a thread's copies: a multiple of 8 rows of a tile
  static_assert(TILE_BYTES == COPIES * THREADS * CHUNK_BYTES, "each thread makes COPIES copies");
};

// Blocks that a multiprocessor should hold, which limits the registers of a thread. The gradients of tf32 would spill with
// two large tiles: their single loads from shared memory need more.
template <typename T, int PASS, int SIZE>
constexpr int BLOCKS = SIZE == 64 ? 4 : PASS != FORWARD && sizeof(T) == 4 ? 1 : 2;

// A number of three digits c + LIMIT_C (b + LIMIT_B a) that is only ever added to.
struct Clock {
  int a, b, c;

  __device__ Clock(int value, int limit_b, int limit_c)
      : a(value / limit_c / limit_b), b(value / limit_c % limit_b), c(value % limit_c) {}

  __device__ void advance(const Clock& by, int limit_b, int limit_c) {
    c += by.c, b += by.b, a += by.a;
    if (c >= limit_c) c -= limit_c, ++b;
    if (b >= limit_b) b -= limit_b, ++a;
  }
};

// ---- Tiles in shared memory ------------------------------------------------------------------------------------------
//
// A tile lies either along the summed index, (SIZE, 64 bytes), or along the result, (STEP, SIZE elements), as it lies in
// global memory. The chunks of a row are permuted by the row's number, so that the eight rows that one ldmatrix reads
// (tf32: the 32 numbers of one load) are on different banks.

// Byte where a chunk of row ``line`` lies, along the summed index.
__device__ inline int along_sum(int line, int chunk) {
  return line * STEP_BYTES + (chunk ^ (line >> 1 & 3)) * CHUNK_BYTES;
}

// Byte where a chunk of step ``k`` lies, along the result.
template <typename S, typename T>
__device__ int along_result(int k, int chunk) {
  const int permuted = chunk ^ (sizeof(T) == 2 ? k & 7 : (k & 3) << 1);
  return (k * S::ROW_CHUNKS + permuted) * CHUNK_BYTES;
}

// The four registers of tf32 come from ldmatrix or single loads as they are in memory: round them.
template <typename T, int N>
__device__ void round_fragment(uint32_t (&fragment)[N]) {
  if constexpr (sizeof(T) == 4)
    for (int i = 0; i < N; ++i) fragment[i] = to_tf32(__uint_as_float(fragment[i]));
}

template <typename S, typename T>
__device__ uint32_t load_single(const unsigned char* tile, int k, int line) {
  const int byte = along_result<S, T>(k, line / S::CHUNK) + line % S::CHUNK * int(sizeof(T));
  return *reinterpret_cast<const uint32_t*>(tile + byte);
}

// Fragment a of rows line .. line + 15 for the half (0 or 1) of the tile's summed index.
template <typename S, typename T, bool ALONG_SUM>
__device__ void load_a(uint32_t (&a)[4], const unsigned char* tile, int line, int half) {
  const int lane = threadIdx.x % 32, matrix = lane / 8, row = lane % 8;
  if constexpr (ALONG_SUM) {
    ldmatrix_x4(a, tile + along_sum(line + (matrix & 1) * 8 + row, half * 2 + (matrix >> 1)));
  } else if constexpr (sizeof(T) == 2) {
    const int k = half * 16 + (matrix >> 1) * 8 + row;
    ldmatrix_x4_trans(a, tile + along_result<S, T>(k, line / 8 + (matrix & 1)));
  } else {
    for (int i = 0; i < 4; ++i)
      a[i] = load_single<S, T>(tile, half * 8 + i / 2 * 4 + lane % 4, line + i % 2 * 8 + lane / 4);
  }
  round_fragment<T>(a);
}

// Fragments b of columns line .. line + 7 (b[0], b[1]) and line + 8 .. line + 15 (b[2], b[3]).
template <typename S, typename T, bool ALONG_SUM>
__device__ void load_b(uint32_t (&b)[4], const unsigned char* tile, int line, int half) {
  const int lane = threadIdx.x % 32, matrix = lane / 8, row = lane % 8;
  if constexpr (ALONG_SUM) {
    ldmatrix_x4(b, tile + along_sum(line + (matrix >> 1) * 8 + row, half * 2 + (matrix & 1)));
  } else if constexpr (sizeof(T) == 2) {
    const int k = half * 16 + (matrix & 1) * 8 + row;
    ldmatrix_x4_trans(b, tile + along_result<S, T>(k, line / 8 + (matrix >> 1)));
  } else {
    for (int i = 0; i < 4; ++i)
      b[i] = load_single<S, T>(tile, half * 8 + i % 2 * 4 + lane % 4, line + i / 2 * 8 + lane / 4);
  }
  round_fragment<T>(b);
}

template <typename T>
__device__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (sizeof(T) == 2)
    mma_m16n8k16<T>(d, a, b);
  else
    mma_m16n8k8_tf32(d, a, b);
}

// The sums of one thread: d[i][j] is its fragment of the 16 x 8 elements at (16 i, 8 j) of the warp's part.
template <typename S>
struct Sums {
  float d[S::WARP_M / 16][S::WARP_N / 8][4];

  __device__ static int first_row() { return threadIdx.x / 32 / (S::SIZE / S::WARP_N) * S::WARP_M; }
  __device__ static int first_column() { return threadIdx.x / 32 % (S::SIZE / S::WARP_N) * S::WARP_N; }

  // d += A B for one tile of each.
  template <typename T, bool A_ALONG_SUM, bool B_ALONG_SUM>
  __device__ void add(const unsigned char* tile_a, const unsigned char* tile_b) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t a[S::WARP_M / 16][4], b[S::WARP_N / 16][4];
#pragma unroll
      for (int i = 0; i < S::WARP_M / 16; ++i) load_a<S, T, A_ALONG_SUM>(a[i], tile_a, first_row() + 16 * i, half);
#pragma unroll
      for (int j = 0; j < S::WARP_N / 16; ++j) load_b<S, T, B_ALONG_SUM>(b[j], tile_b, first_column() + 16 * j, half);
#pragma unroll
      for (int i = 0; i < S::WARP_M / 16; ++i)
#pragma unroll
        for (int j = 0; j < S::WARP_N / 8; ++j) mma<T>(d[i][j], a[i], {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]});
    }
  }

  // Where the 8 columns are that ``each`` gives to this thread.
  __device__ static int column_of_eight() { return first_column() + threadIdx.x % 4 * 8; }

  // visit(row, column, values): each 8 neighbouring elements of a row, by their place in the block's tile.
  template <typename Visit>
  __device__ void each(Visit visit) const {
    static_assert(S::WARP_N == 32, "four lanes hold four times two columns of a row");
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < S::WARP_M / 16; ++i)
#pragma unroll
      for (int below = 0; below < 2; ++below) {
        float values[4][2];
#pragma unroll
        for (int j = 0; j < 4; ++j) values[j][0] = d[i][j][2 * below], values[j][1] = d[i][j][2 * below + 1];
        transpose(values);
        visit(first_row() + 16 * i + 8 * below + lane / 4, column_of_eight(), &values[0][0]);
      }
  }

  // Lane t of each four has columns 2 t and 2 t + 1 of four fragments, side by side, and gets all 8 columns of fragment t.
  __device__ static void transpose(float (&values)[4][2]) {
#pragma unroll
    for (int bit = 1; bit < 4; bit *= 2) {
      const bool upper = threadIdx.x & bit;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (j & bit) continue;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float sent = upper ? values[j][i] : values[j | bit][i];
          const float got = __shfl_xor_sync(0xffffffffu, sent, bit);
          (upper ? values[j][i] : values[j | bit][i]) = got;
        }
      }
    }
  }
};

// The loop over ``steps`` tiles: fetch(a, b) starts the thread's copies of the next one. Dynamic shared memory: STAGES
// tiles of A, each followed by one of B.
template <typename S, typename T, bool A_ALONG_SUM, bool B_ALONG_SUM, typename Fetch>
__device__ void pipeline(Sums<S>& sums, unsigned char* shared, int steps, Fetch fetch) {
  const auto stage = [&](int step) { return shared + step % STAGES * 2 * S::TILE_BYTES; };
  for (int step = 0; step < STAGES - 1; ++step) {
    if (step < steps) fetch(stage(step), stage(step) + S::TILE_BYTES);
    cp_async_commit();
  }
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<STAGES - 2>();  // this step's tile, as far as this thread copied it
    __syncthreads();              // as far as all did; and all have done with the tile before
    const int ahead = step + STAGES - 1;
    if (ahead < steps) fetch(stage(ahead), stage(ahead) + S::TILE_BYTES);
    cp_async_commit();
    sums.template add<T, A_ALONG_SUM, B_ALONG_SUM>(stage(step), stage(step) + S::TILE_BYTES);
  }
}

// 16 bytes of T.
__device__ inline void store_chunk(float* to, const float* values) {
  *reinterpret_cast<float4*>(to) = {values[0], values[1], values[2], values[3]};
}
template <typename T>
__device__ void store_chunk(T* to, const float* values) {
  *reinterpret_cast<uint4*>(to) = {pack_pair<T>(values[0], values[1]), pack_pair<T>(values[2], values[3]),
                                   pack_pair<T>(values[4], values[5]), pack_pair<T>(values[6], values[7])};
}

// ---- Forward and backward-data ---------------------------------------------------------------------------------------
//
// result = activation(bias + U(source) filter). Grid: (rows / SIZE, channels / SIZE, groups and phases).

template <typename T, int PASS, int SIZE>
__global__ void __launch_bounds__((Shape<T, SIZE>::THREADS), (BLOCKS<T, PASS, SIZE>))
    convolution_mma(const T* source, const T* weight, const T* bias, T* result, int activation, GEOMETRY_PARAMETERS) {
  using S = Shape<T, SIZE>;
  DYNAMIC_SHARED(unsigned char, shared);
  const Geometry g = GEOMETRY;
  const Product product = make_product<PASS>(g, blockIdx.z);
  const Unrolled& unrolled = product.source;
  const int first_row = blockIdx.x * SIZE, first_column = blockIdx.y * SIZE;
  if (first_row >= unrolled.rows) return;  // the whole block: phases may differ in their number of pixels
  const int across = max_(unrolled.taps_w.count, 1), share = unrolled.channels;

  // A lies along the summed index: this thread copies chunk ``chunk`` of rows ``line`` and line + SIZE / 2.
  const int chunk = threadIdx.x % CHUNKS, line = threadIdx.x / CHUNKS, to = along_sum(line, chunk);
  const int reach_h = unrolled.taps_h.reach, reach_w = unrolled.taps_w.reach;
  const int down = reach_h * int(unrolled.h), right = reach_w * int(unrolled.w);  // elements from tap to tap
  const T* rows[COPIES];
  Place pixels[COPIES];
  for (int i = 0; i < COPIES; ++i) {
    pixels[i] = unrolled.pixel(first_row + line + i * (SIZE / COPIES));
    rows[i] = source + unrolled.group_offset + pixels[i].offset;
  }
  Clock tap(chunk * S::CHUNK, across, share);
  const Clock step(S::STEP, across, share);

  // Forward, B does so as well: rows of the filter, in which the summed index runs on.
  const int filter_row = first_column + line;
  const T* filter = weight + product.filter_offset + filter_row * product.filter_result + chunk * S::CHUNK;

  // Backward-data, the filter lies along the result: this thread copies chunk ``column_chunk`` of steps ``k`` and
  // k + STEP / 2, which have taps of their own.
  const int column_chunk = threadIdx.x % S::ROW_CHUNKS, k = threadIdx.x / S::ROW_CHUNKS;
  const int filter_to = along_result<S, T>(k, column_chunk), column = first_column + column_chunk * S::CHUNK;
  const int filter_down = unrolled.taps_h.step * int(product.filter_h);
  const int filter_right = unrolled.taps_w.step * int(product.filter_w), filter_c = int(product.filter_c);
  if (PASS == BACKWARD_DATA) filter = weight + product.filter_tap(0, 0, 0) + column;
  Clock filter_tap(k, across, share);
  const Clock part_step(S::STEP / COPIES, across, share);

  const auto fetch = [&](unsigned char* tile_a, unsigned char* tile_b) {
    const bool some = tap.a < unrolled.taps_h.count;
    const int by_h = tap.a * reach_h, by_w = tap.b * reach_w, offset = tap.a * down + tap.b * right + tap.c;
#pragma unroll
    for (int i = 0; i < COPIES; ++i) {
      const bool wanted = some && unrolled.has(pixels[i].h + by_h, pixels[i].w + by_w);
      cp_async<16>(tile_a + to + i * S::COPY_BYTES, rows[i] + offset, wanted);
    }
#pragma unroll
    for (int i = 0; i < COPIES; ++i) {
      if constexpr (PASS == FORWARD) {
        const bool wanted = some && filter_row + i * (SIZE / COPIES) < product.results;
        const T* from = filter + i * (SIZE / COPIES) * int(product.filter_result);
        cp_async<16>(tile_b + to + i * S::COPY_BYTES, from, wanted);
      } else {
        const bool wanted = filter_tap.a < unrolled.taps_h.count && column < product.results;
        const int from = filter_tap.a * filter_down + filter_tap.b * filter_right + filter_tap.c * filter_c;
        cp_async<16>(tile_b + filter_to + i * S::COPY_BYTES, filter + from, wanted);
        filter_tap.advance(part_step, across, share);
      }
    }
    tap.advance(step, across, share);
    if (PASS == FORWARD) filter += S::STEP;
  };

  Sums<S> sums = {};
  pipeline<S, T, true, PASS == FORWARD>(sums, shared, (unrolled.columns + S::STEP - 1) / S::STEP, fetch);

  float biases[8] = {};
  for (int i = 0; i < 8; ++i) {
    const int channel = first_column + Sums<S>::column_of_eight() + i;
    if (bias != nullptr && channel < product.results) biases[i] = to_compute(bias[product.first_result + channel]);
  }
  sums.each([&](int row, int column, float* values) {
    row += first_row, column += first_column;
    if (row >= unrolled.rows) return;
    T* row_to = result + product.result(row);
#pragma unroll
    for (int chunk = 0; chunk < 8; chunk += S::CHUNK) {
      if (column + chunk >= product.results) return;
#pragma unroll
      for (int i = chunk; i < chunk + S::CHUNK; ++i) values[i] = activate(values[i] + biases[i], activation);
      store_chunk(row_to + column + chunk, values + chunk);
    }
  });
}

// ---- Backward-weight -------------------------------------------------------------------------------------------------
//
// partial[split] = dy^T U(x) over the split's share of the pixels, (splits, O, R S C / groups). Both matrices lie along
// the result. Grid: (features / SIZE, taps / SIZE, groups times splits); convolution_sum_splits adds the splits up.

template <typename T, int SIZE>
__global__ void __launch_bounds__((Shape<T, SIZE>::THREADS), (BLOCKS<T, BACKWARD_WEIGHT, SIZE>))
    convolution_mma_weight(const T* x, const T* dy, float* partial, int pixels_per_split, GEOMETRY_PARAMETERS) {
  using S = Shape<T, SIZE>;
  DYNAMIC_SHARED(unsigned char, shared);
  const Geometry g = GEOMETRY;
  const int group = blockIdx.z % g.groups, split = blockIdx.z / g.groups, share = g.feature_share();
  const Unrolled unrolled = unroll_image(g, group);
  const int first_feature = blockIdx.x * SIZE, first_tap = blockIdx.y * SIZE;
  const int begin = split * pixels_per_split, end = min_(begin + pixels_per_split, unrolled.rows);

  // This thread copies chunk ``chunk`` of steps ``k`` and k + STEP / 2: the same features and the same tap throughout.
  const int chunk = threadIdx.x % S::ROW_CHUNKS, k = threadIdx.x / S::ROW_CHUNKS;
  const int feature = first_feature + chunk * S::CHUNK, to = along_result<S, T>(k, chunk);
  const Place tap = unrolled.tap(first_tap + chunk * S::CHUNK);
  const Clock part_step(S::STEP / COPIES, g.grid_height, g.grid_width);
  Clock at(begin + k, g.grid_height, g.grid_width);
  int left = end - begin - k;  // pixels of the split from the next copy on
  const int image_x = int(x_n), row_x = int(x_h), pixel_x = int(x_w);
  const int image_dy = int(y_n), row_dy = int(y_h), pixel_dy = int(y_w);
  const T* x_tap = x + tap.offset;
  const T* dy_feature = dy + group * share + feature;

  const auto fetch = [&](unsigned char* tile_a, unsigned char* tile_b) {
#pragma unroll
    for (int i = 0; i < COPIES; ++i) {
      const bool some = left > i * (S::STEP / COPIES);
      const T* from_dy = dy_feature + (long long)at.a * image_dy + (at.b * row_dy + at.c * pixel_dy);
      cp_async<16>(tile_a + to + i * S::COPY_BYTES, from_dy, some && feature < share);
      const int h = at.b * g.stride_h - g.before_h, w = at.c * g.stride_w - g.before_w;
      const T* from_x = x_tap + (long long)at.a * image_x + (h * row_x + w * pixel_x);
      cp_async<16>(tile_b + to + i * S::COPY_BYTES, from_x, some && unrolled.has(h + tap.h, w + tap.w));
      at.advance(part_step, g.grid_height, g.grid_width);
    }
    left -= S::STEP;
  };

  Sums<S> sums = {};
  pipeline<S, T, false, false>(sums, shared, (end - begin + S::STEP - 1) / S::STEP, fetch);

  float* sums_to = partial + ((long long)split * g.features + group * share) * unrolled.columns;
  sums.each([&](int row, int column, const float* values) {
    row += first_feature, column += first_tap;
    if (row >= share) return;
#pragma unroll
    for (int chunk = 0; chunk < 8; chunk += 4)
      if (column + chunk < unrolled.columns)
        store_chunk(sums_to + (long long)row * unrolled.columns + column + chunk, values + chunk);
  });
}
