// Convolution as a product of matrices on tensor cores: channels last (NHWC, filters (O, R, S, C / groups)), channels
// of every group in multiples of 16 bytes. See convolution.cuh for the matrices, convolution_tiles.cuh for the
// products.
//
// Version "mma": __half and __nv_bfloat16, sums in float32. Not yet measured.
// Version "tf32": float, rounded to 10 bits of mantissa before it is multiplied; sums in float32. Not yet measured.
//
// A copy is 8 channels (4 of tf32) of one pixel. Which pixel, tap and channel a thread copies next is counted like a
// clock, so the loop has no divisions. Offsets within one image and within the filter fit in 32 bits; the launcher sees
// to it.
#include "convolution_tiles.cuh"

// Blocks that a multiprocessor should hold, which limits the registers of a thread. The gradients of tf32 would spill
// with two large tiles: their single loads from shared memory need more.
template <typename T, int PASS, int SIZE>
constexpr int BLOCKS = SIZE == 64 ? 4 : PASS != FORWARD && sizeof(T) == 4 ? 1 : 2;

// ---- Forward and backward-data --------------------------------------------------------------------------------------
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

// ---- Backward-weight ------------------------------------------------------------------------------------------------
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
