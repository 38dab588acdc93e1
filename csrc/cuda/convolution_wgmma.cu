// Convolution as in convolution_mma.cu, on Hopper: the tiles are the factors of wgmma as they lie in shared memory.
// __half and __nv_bfloat16, channels last, channels of every group in multiples of 8.
// Not yet measured.
//
// A block of two warpgroups computes a tile of 128 x 128, 64 rows a warpgroup. One step is 64 numbers of the summed index:
// rows of 128 bytes, swizzled as wgmma wants them. All threads copy (cp.async, 16 bytes each), AHEAD steps ahead of the one
// that is multiplied, while the products of the step before it are still under way: hence AHEAD + 2 stages.
#include "convolution_tiles.cuh"
#include "hopper.cuh"

constexpr int WIDE = 128, WIDE_STEP = 64, ROW_BYTES = 128, WIDE_THREADS = 256;
constexpr int AHEAD = 2, WIDE_STAGES = AHEAD + 2;
constexpr int WIDE_TILE = WIDE * ROW_BYTES; // bytes of one factor in a stage
constexpr int WIDE_COPIES = 4;              // a thread, of each factor, for each step
constexpr int SLAB_BYTES = WIDE_STEP * ROW_BYTES;

// Byte of chunk ``chunk`` (of 8) of row ``line`` (of 128) of a tile along the summed index.
__device__ inline int wide_along_sum(int line, int chunk) { return line * ROW_BYTES + (chunk ^ line % 8) * CHUNK_BYTES; }

// Byte of chunk ``chunk`` (of 16) of step ``k`` (of 64) of a tile along the result: two slabs of 64 columns.
__device__ inline int wide_along_result(int k, int chunk) {
  return chunk / 8 * SLAB_BYTES + k * ROW_BYTES + (chunk % 8 ^ k % 8) * CHUNK_BYTES;
}

// This thread's sums: of its warpgroup's 64 rows and all 128 columns.
struct WideSums {
  float d[WIDE / 2];

  __device__ static int first_row() { return threadIdx.x / 128 * 64 + threadIdx.x % 128 / 32 * 16; }

  // d += A B of one step; under way.
  template <typename T, bool A_ALONG_SUM, bool B_ALONG_SUM>
  __device__ void add(const unsigned char* a, const unsigned char* b) {
    const unsigned char* const own = a + threadIdx.x / 128 * SLAB_BYTES; // 64 rows of 128 bytes, or a slab
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < WIDE_STEP; k += 16) {
      const uint64_t a_place = wgmma_descriptor(own + (A_ALONG_SUM ? k * 2 : k * ROW_BYTES));
      const uint64_t b_place = B_ALONG_SUM ? wgmma_descriptor(b + k * 2) : wgmma_descriptor(b + k * ROW_BYTES, SLAB_BYTES);
      wgmma<T, !B_ALONG_SUM, !A_ALONG_SUM>(d, a_place, b_place, true);
    }
    wgmma_commit();
  }

  // visit(row, column, values): each 8 neighbouring elements of a row.
  template <typename T, typename Visit>
  __device__ void each(Visit visit) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int first = 0; first < WIDE / 8; first += 4) // four fragments of 8 columns at a time
#pragma unroll
      for (int below = 0; below < 2; ++below) {
        float values[4][2];
#pragma unroll
        for (int j = 0; j < 4; ++j)
          values[j][0] = d[4 * (first + j) + 2 * below], values[j][1] = d[4 * (first + j) + 2 * below + 1];
        Sums<Shape<T, 128>>::transpose(values);
        visit(first_row() + 8 * below + lane / 4, (first + lane % 4) * 8, &values[0][0]);
      }
  }
};

// The loop over ``steps``: fetch(a, b) starts this thread's copies of the next one.
template <typename T, bool A_ALONG_SUM, bool B_ALONG_SUM, typename Fetch>
__device__ void wide_pipeline(WideSums& sums, unsigned char* shared, int steps, Fetch fetch) {
  const auto stage = [&](int step) { return shared + step % WIDE_STAGES * 2 * WIDE_TILE; };
  for (int step = 0; step < AHEAD; ++step) {
    if (step < steps) fetch(stage(step), stage(step) + WIDE_TILE);
    cp_async_commit();
  }
  wgmma_hold(sums.d);
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<AHEAD - 1>(); // this step's tiles, as far as this thread copied them
    async_fence();
    __syncthreads();            // as far as all did; and all have done with the tiles of two steps before
    const int ahead = step + AHEAD;
    if (ahead < steps) fetch(stage(ahead), stage(ahead) + WIDE_TILE);
    cp_async_commit();
    sums.template add<T, A_ALONG_SUM, B_ALONG_SUM>(stage(step), stage(step) + WIDE_TILE);
    wgmma_wait<1>();
  }
  wgmma_wait<0>();
  wgmma_hold(sums.d);
}

// ---- Forward and backward-data --------------------------------------------------------------------------------------
//
// result = activation(bias + U(source) filter). Grid: (rows / 128, channels / 128, groups and phases).

template <typename T, int PASS>
__global__ void __launch_bounds__(WIDE_THREADS, 1)
    convolution_wgmma(const T* source, const T* weight, const T* bias, T* result, int activation, GEOMETRY_PARAMETERS) {
  constexpr int CHUNK = 8, LINES = WIDE / WIDE_COPIES, STEPS = WIDE_STEP / WIDE_COPIES; // between a thread's copies
  DYNAMIC_SHARED(unsigned char, shared);
  const Geometry g = GEOMETRY;
  const Product product = make_product<PASS>(g, blockIdx.z);
  const Unrolled& unrolled = product.source;
  const int first_row = blockIdx.x * WIDE, first_column = blockIdx.y * WIDE;
  if (first_row >= unrolled.rows) return; // the whole block: phases may differ in their number of pixels
  const int across = max_(unrolled.taps_w.count, 1), share = unrolled.channels;

  // A lies along the summed index: this thread copies chunk ``chunk`` of rows ``line``, line + LINES, ...
  const int chunk = threadIdx.x % 8, line = threadIdx.x / 8, to = wide_along_sum(line, chunk);
  const int reach_h = unrolled.taps_h.reach, reach_w = unrolled.taps_w.reach;
  const int down = reach_h * int(unrolled.h), right = reach_w * int(unrolled.w); // elements from tap to tap
  const T* rows[WIDE_COPIES];
  int row_h[WIDE_COPIES], row_w[WIDE_COPIES];
  for (int i = 0; i < WIDE_COPIES; ++i) {
    const Place pixel = unrolled.pixel(first_row + line + i * LINES);
    row_h[i] = pixel.h, row_w[i] = pixel.w;
    rows[i] = source + unrolled.group_offset + pixel.offset;
  }
  Clock tap(chunk * CHUNK, across, share);
  const Clock step(WIDE_STEP, across, share);

  // Forward, B does so as well; backward-data, the filter lies along the result, and this thread copies chunk
  // ``column_chunk`` of steps ``k``, k + STEPS, ..., which have taps of their own.
  const int filter_row = first_column + line, column_chunk = threadIdx.x % 16, k = threadIdx.x / 16;
  const int column = first_column + column_chunk * CHUNK, filter_to = wide_along_result(k, column_chunk);
  const int filter_down = unrolled.taps_h.step * int(product.filter_h);
  const int filter_right = unrolled.taps_w.step * int(product.filter_w), filter_c = int(product.filter_c);
  const T* filter = PASS == FORWARD
                        ? weight + product.filter_offset + filter_row * product.filter_result + chunk * CHUNK
                        : weight + product.filter_tap(0, 0, 0) + column;
  Clock filter_tap(k, across, share);
  const Clock part_step(STEPS, across, share);

  const auto fetch = [&](unsigned char* tile_a, unsigned char* tile_b) {
    const bool some = tap.a < unrolled.taps_h.count;
    const int by_h = tap.a * reach_h, by_w = tap.b * reach_w, offset = tap.a * down + tap.b * right + tap.c;
#pragma unroll
    for (int i = 0; i < WIDE_COPIES; ++i) {
      const bool wanted = some && unrolled.has(row_h[i] + by_h, row_w[i] + by_w);
      cp_async<16>(tile_a + to + i * LINES * ROW_BYTES, rows[i] + offset, wanted);
    }
#pragma unroll
    for (int i = 0; i < WIDE_COPIES; ++i) {
      if constexpr (PASS == FORWARD) {
        const bool wanted = some && filter_row + i * LINES < product.results;
        cp_async<16>(tile_b + to + i * LINES * ROW_BYTES, filter + i * LINES * int(product.filter_result), wanted);
      } else {
        const bool wanted = filter_tap.a < unrolled.taps_h.count && column < product.results;
        const int from = filter_tap.a * filter_down + filter_tap.b * filter_right + filter_tap.c * filter_c;
        cp_async<16>(tile_b + filter_to + i * STEPS * ROW_BYTES, filter + from, wanted);
        filter_tap.advance(part_step, across, share);
      }
    }
    tap.advance(step, across, share);
    if (PASS == FORWARD) filter += WIDE_STEP;
  };

  WideSums sums = {};
  wide_pipeline<T, true, PASS == FORWARD>(sums, shared, (unrolled.columns + WIDE_STEP - 1) / WIDE_STEP, fetch);

  sums.each<T>([&](int row, int column, float* values) {
    row += first_row, column += first_column;
    if (row >= unrolled.rows || column >= product.results) return;
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) {
      const float shift = bias != nullptr ? to_compute(bias[product.first_result + column + i]) : 0;
      values[i] = activate(values[i] + shift, activation);
    }
    store_chunk(result + product.result(row) + column, values);
  });
}

// ---- Backward-weight ------------------------------------------------------------------------------------------------
//
// As convolution_mma_weight: partial[split] = dy^T U(x). Both lie along the result.

template <typename T>
__global__ void __launch_bounds__(WIDE_THREADS, 1)
    convolution_wgmma_weight(const T* x, const T* dy, float* partial, int pixels_per_split, GEOMETRY_PARAMETERS) {
  constexpr int CHUNK = 8, STEPS = WIDE_STEP / WIDE_COPIES;
  DYNAMIC_SHARED(unsigned char, shared);
  const Geometry g = GEOMETRY;
  const int group = blockIdx.z % g.groups, split = blockIdx.z / g.groups, share = g.feature_share();
  const Unrolled unrolled = unroll_image(g, group);
  const int first_feature = blockIdx.x * WIDE, first_tap = blockIdx.y * WIDE;
  const int begin = split * pixels_per_split, end = min_(begin + pixels_per_split, unrolled.rows);

  // This thread copies chunk ``chunk`` of steps ``k``, k + STEPS, ...: the same features and the same tap throughout.
  const int chunk = threadIdx.x % 16, k = threadIdx.x / 16;
  const int feature = first_feature + chunk * CHUNK, to = wide_along_result(k, chunk);
  const Place tap = unrolled.tap(first_tap + chunk * CHUNK);
  const Clock part_step(STEPS, g.grid_height, g.grid_width);
  Clock at(begin + k, g.grid_height, g.grid_width);
  int left = end - begin - k; // pixels of the split from the next copy on
  const int image_x = int(x_n), row_x = int(x_h), pixel_x = int(x_w);
  const int image_dy = int(y_n), row_dy = int(y_h), pixel_dy = int(y_w);
  const T* x_tap = x + tap.offset;
  const T* dy_feature = dy + group * share + feature;

  const auto fetch = [&](unsigned char* tile_a, unsigned char* tile_b) {
#pragma unroll
    for (int i = 0; i < WIDE_COPIES; ++i) {
      const bool some = left > i * STEPS;
      const T* from_dy = dy_feature + (long long)at.a * image_dy + (at.b * row_dy + at.c * pixel_dy);
      cp_async<16>(tile_a + to + i * STEPS * ROW_BYTES, from_dy, some && feature < share);
      const int h = at.b * g.stride_h - g.before_h, w = at.c * g.stride_w - g.before_w;
      const T* from_x = x_tap + (long long)at.a * image_x + (h * row_x + w * pixel_x);
      cp_async<16>(tile_b + to + i * STEPS * ROW_BYTES, from_x, some && unrolled.has(h + tap.h, w + tap.w));
      at.advance(part_step, g.grid_height, g.grid_width);
    }
    left -= WIDE_STEP;
  };

  WideSums sums = {};
  wide_pipeline<T, false, false>(sums, shared, (end - begin + WIDE_STEP - 1) / WIDE_STEP, fetch);

  float* sums_to = partial + ((long long)split * g.features + group * share) * unrolled.columns;
  sums.each<T>([&](int row, int column, const float* values) {
    row += first_feature, column += first_tap;
    if (row >= share || column >= unrolled.columns) return; // both in multiples of 8
    float* to = sums_to + (long long)row * unrolled.columns + column;
    store_chunk(to, values);
    store_chunk(to + 4, values + 4);
  });
}
