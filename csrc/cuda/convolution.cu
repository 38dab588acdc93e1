// Convolution: the sums of convolution.cuh as they stand there, one thread (or block) a result; and the direct kernel
// for few channels. convolution_tiled.cu and convolution_mma.cu have the ones for many.
#include "convolution.cuh"

constexpr int THREADS = 256;

// ---- Version "clear": not yet measured ------------------------------------------------------------------------------

// y[n, o, p, q] = activation(bias[o] + sum over c, r, s of x[n, c, ...] w[o, c, r, s]); a thread for each element.
// Grid: (pixels / THREADS, channels), here and in the next.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    convolution_forward_clear(const T* x, const T* weight, const T* bias, T* y, int activation, GEOMETRY_PARAMETERS) {
  const Geometry g = GEOMETRY;
  const int pixel = blockIdx.x * THREADS + threadIdx.x, o = blockIdx.y;
  if (pixel >= g.images * g.grid_height * g.grid_width) return;
  const int q = pixel % g.grid_width, p = pixel / g.grid_width % g.grid_height;
  const int n = pixel / g.grid_width / g.grid_height;
  const int share = g.channel_share(), first_channel = o / g.feature_share() * share;

  Compute<T> sum = 0;
  for (int r = 0; r < g.kernel_height; ++r) {
    const int h = p * g.stride_h + r * g.dilation_h - g.before_h;
    if (h < 0 || h >= g.height) continue;
    for (int s = 0; s < g.kernel_width; ++s) {
      const int w = q * g.stride_w + s * g.dilation_w - g.before_w;
      if (w < 0 || w >= g.width) continue;
      for (int c = 0; c < share; ++c)
        sum += to_compute(x[n * g.x_n + (first_channel + c) * g.x_c + h * g.x_h + w * g.x_w]) *
               to_compute(weight[o * g.w_o + c * g.w_c + r * g.w_r + s * g.w_s]);
    }
  }
  if (bias != nullptr) sum += to_compute(bias[o]);
  y[n * g.y_n + o * g.y_c + p * g.y_h + q * g.y_w] = from_compute<T>(activate(sum, activation));
}

// dx[n, c, h, w] = activation(bias[c] + sum over o, r, s of dy[n, o, p, q] w[o, c, r, s]), over the windows (p, q) that
// meet the pixel: p stride_h = h + before_h - r dilation_h, and so for q. A thread for each element.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    convolution_backward_data_clear(const T* dy, const T* weight, const T* bias, T* dx, int activation,
                                    GEOMETRY_PARAMETERS) {
  const Geometry g = GEOMETRY;
  const int pixel = blockIdx.x * THREADS + threadIdx.x, c = blockIdx.y;
  if (pixel >= g.images * g.height * g.width) return;
  const int w = pixel % g.width, h = pixel / g.width % g.height;
  const int n = pixel / g.width / g.height;
  const int share = g.feature_share(), first_feature = c / g.channel_share() * share;

  Compute<T> sum = 0;
  for (int r = 0; r < g.kernel_height; ++r) {
    const int down = h + g.before_h - r * g.dilation_h, p = down / g.stride_h;
    if (down < 0 || down % g.stride_h != 0 || p >= g.grid_height) continue;
    for (int s = 0; s < g.kernel_width; ++s) {
      const int across = w + g.before_w - s * g.dilation_w, q = across / g.stride_w;
      if (across < 0 || across % g.stride_w != 0 || q >= g.grid_width) continue;
      for (int o = first_feature; o < first_feature + share; ++o)
        sum += to_compute(dy[n * g.y_n + o * g.y_c + p * g.y_h + q * g.y_w]) *
               to_compute(weight[o * g.w_o + c % g.channel_share() * g.w_c + r * g.w_r + s * g.w_s]);
    }
  }
  if (bias != nullptr) sum += to_compute(bias[c]);
  dx[n * g.x_n + c * g.x_c + h * g.x_h + w * g.x_w] = from_compute<T>(activate(sum, activation));
}

// dw[o, c, r, s] = sum over n, p, q of dy[n, o, p, q] x[n, c, ...]; a block for each element.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    convolution_backward_weight_clear(const T* x, const T* dy, T* dw, GEOMETRY_PARAMETERS) {
  const Geometry g = GEOMETRY;
  const int s = blockIdx.x % g.kernel_width, r = blockIdx.x / g.kernel_width % g.kernel_height;
  const int c = blockIdx.x / g.kernel_width / g.kernel_height % g.channel_share();
  const int o = blockIdx.x / g.kernel_width / g.kernel_height / g.channel_share();
  const int channel = o / g.feature_share() * g.channel_share() + c;

  Compute<T> sum = 0;
  for (int pixel = threadIdx.x; pixel < g.images * g.grid_height * g.grid_width; pixel += THREADS) {
    const int q = pixel % g.grid_width, p = pixel / g.grid_width % g.grid_height;
    const int n = pixel / g.grid_width / g.grid_height;
    const int h = p * g.stride_h + r * g.dilation_h - g.before_h;
    const int w = q * g.stride_w + s * g.dilation_w - g.before_w;
    if (h < 0 || h >= g.height || w < 0 || w >= g.width) continue;
    sum += to_compute(dy[n * g.y_n + o * g.y_c + p * g.y_h + q * g.y_w]) *
           to_compute(x[n * g.x_n + channel * g.x_c + h * g.x_h + w * g.x_w]);
  }
  sum = block_sum<THREADS>(sum);
  if (threadIdx.x == 0) dw[o * g.w_o + c * g.w_c + r * g.w_r + s * g.w_s] = from_compute<T>(sum);
}

// db[o] = sum over n, p, q of dy[n, o, p, q]; a block for each feature. The only version.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    convolution_backward_bias(const T* dy, T* db, GEOMETRY_PARAMETERS) {
  const Geometry g = GEOMETRY;
  Compute<T> sum = 0;
  for (int pixel = threadIdx.x; pixel < g.images * g.grid_height * g.grid_width; pixel += THREADS) {
    const int q = pixel % g.grid_width, p = pixel / g.grid_width % g.grid_height;
    const int n = pixel / g.grid_width / g.grid_height;
    sum += to_compute(dy[n * g.y_n + blockIdx.x * g.y_c + p * g.y_h + q * g.y_w]);
  }
  sum = block_sum<THREADS>(sum);
  if (threadIdx.x == 0) db[blockIdx.x] = from_compute<T>(sum);
}

// ---- Version "direct", for few channels: not yet measured -----------------------------------------------------------
//
// A thread for each pixel of the result, with all of up to RESULTS channels in registers: each value of the source is
// read once for all of them, and what it is multiplied with is read from shared memory, at the same address by the
// whole warp. A matrix product in tiles of 64 channels would be idle for most of them here.
//
// Grid: (pixels / THREADS, channels / RESULTS, groups and phases). Dynamic shared memory: RESULTS columns of the
// filter, tap by tap, then what each tap adds to an address.

constexpr int RESULTS = 8;

// Where no number of blocks is said, ptxas saves registers for sm_75 and spills.
template <typename T, int PASS>
__global__ void __launch_bounds__(THREADS, 2)
    convolution_direct(const T* source, const T* weight, const T* bias, T* result, int activation,
                       GEOMETRY_PARAMETERS) {
  const Geometry g = GEOMETRY;
  const Product product = make_product<PASS>(g, blockIdx.z);
  const Unrolled& unrolled = product.source;
  const int taps = unrolled.columns, first = blockIdx.y * RESULTS;

  DYNAMIC_SHARED(Place, places);  // [taps], then filter [taps][RESULTS]
  Compute<T>* filter = reinterpret_cast<Compute<T>*>(places + taps);
  for (int tap = threadIdx.x; tap < taps; tap += THREADS) places[tap] = unrolled.tap(tap);
  for (int entry = threadIdx.x; entry < taps * RESULTS; entry += THREADS) {
    const int tap = entry / RESULTS, channel = first + entry % RESULTS;
    filter[entry] = channel < product.results
                        ? to_compute(weight[product.filter_tap(tap) + channel * product.filter_result])
                        : Compute<T>(0);
  }
  __syncthreads();

  const int row = blockIdx.x * THREADS + threadIdx.x;
  if (row >= unrolled.rows) return;
  const Place pixel = unrolled.pixel(row);
  Compute<T> sums[RESULTS] = {};
  for (int tap = 0; tap < taps; ++tap) {
    if (!unrolled.has(pixel.h + places[tap].h, pixel.w + places[tap].w)) continue;
    const Compute<T> value = to_compute(source[pixel.offset + places[tap].offset]);
#pragma unroll
    for (int i = 0; i < RESULTS; ++i) sums[i] += value * filter[tap * RESULTS + i];
  }

  const long long to = product.result(row);
#pragma unroll
  for (int i = 0; i < RESULTS; ++i) {
    if (first + i >= product.results) break;
    if (bias != nullptr) sums[i] += to_compute(bias[product.first_result + first + i]);
    result[to + (first + i) * product.c] = from_compute<T>(activate(sums[i], activation));
  }
}
