// Pooling over windows of an image x (N, C, H, W): window (p, q) has the pixels
//
//   h = p stride_h + r dilation_h - before_h,   w = q stride_w + s dilation_w - before_w,   tap r kernel_width + s,
//
// and what of it lies outside of the image is never a maximum, and counts in a mean only if asked for.
//
// Arrays are told by their strides (in elements). A thread has WIDTH channels of one pixel:
//
// Version "clear", WIDTH = 1: any strides. Not yet measured.
// Version "packs", WIDTH = 16 bytes: channels last and in multiples of WIDTH. Not yet measured.
//
// Backward, each pixel gathers from the windows it is in, tap by tap, so sums have one order: no atomics.
#include "common.cuh"

constexpr int THREADS = 256, BLOCKS = 4;  // BLOCKS: a multiprocessor should hold

// Every kernel ends in these parameters, in this order; pooling.py passes them.
#define GEOMETRY_PARAMETERS                                                                                          \
  int images, int channels, int height, int width, int grid_height, int grid_width, int kernel_height,               \
      int kernel_width, int stride_h, int stride_w, int before_h, int before_w, int dilation_h, int dilation_w,      \
      long long x_n, long long x_c, long long x_h, long long x_w, long long y_n, long long y_c, long long y_h,       \
      long long y_w

#define GEOMETRY                                                                                                   \
  Geometry{images,     channels, height,   width,    grid_height, grid_width, kernel_height, kernel_width, stride_h, \
           stride_w,   before_h, before_w, dilation_h, dilation_w, x_n, x_c, x_h, x_w, y_n, y_c, y_h, y_w}

struct Geometry {
  int images, channels, height, width, grid_height, grid_width, kernel_height, kernel_width;
  int stride_h, stride_w, before_h, before_w, dilation_h, dilation_w;
  long long x_n, x_c, x_h, x_w;  // strides of the image
  long long y_n, y_c, y_h, y_w;  // of the grid of windows

  __device__ int pixel_h(int p, int r) const { return p * stride_h + r * dilation_h - before_h; }
  __device__ int pixel_w(int q, int s) const { return q * stride_w + s * dilation_w - before_w; }
  __device__ bool has(int h, int w) const { return h >= 0 && h < height && w >= 0 && w < width; }
  __device__ long long x(int n, int c, int h, int w) const { return n * x_n + c * x_c + h * x_h + w * x_w; }
  __device__ long long y(int n, int c, int p, int q) const { return n * y_n + c * y_c + p * y_h + q * y_w; }
};

// Which pixel and first channel this thread has, of an array of ``rows`` x ``columns``; neighbouring threads have
// neighbours in memory. channels: in units of WIDTH.
struct Position {
  int n, c, row, column;
  bool exists;

  __device__ Position(int images, int channels, int rows, int columns, bool channels_last) {
    int rest = blockIdx.x * THREADS + threadIdx.x;
    exists = rest < images * channels * rows * columns;
    if (channels_last) c = rest % channels, rest /= channels;
    column = rest % columns, rest /= columns;
    row = rest % rows, rest /= rows;
    if (!channels_last) c = rest % channels, rest /= channels;
    n = rest;
  }
};

// WIDTH neighbouring numbers, loaded and stored at once.
template <typename T, int WIDTH>
struct alignas(sizeof(T) * WIDTH < 16 ? sizeof(T) * WIDTH : 16) Vector {
  T at[WIDTH];
};

template <int WIDTH, typename T>
__device__ Vector<T, WIDTH> load(const T* from) {
  return *reinterpret_cast<const Vector<T, WIDTH>*>(from);
}

template <int WIDTH, typename T>
__device__ void store(T* to, const Vector<T, WIDTH>& values) {
  *reinterpret_cast<Vector<T, WIDTH>*>(to) = values;
}

// y = the largest of each window; winner = its tap, of equals the first, (N, C, P, Q) as y lies. NaN is larger than
// all. From the last tap to the first, so that the first of equals stays.
template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pooling_max_forward(const T* x, T* y, int* winner, GEOMETRY_PARAMETERS) {
  const Geometry g = GEOMETRY;
  const Position at(g.images, g.channels / WIDTH, g.grid_height, g.grid_width, g.y_c == 1);
  if (!at.exists) return;
  const int c = at.c * WIDTH;

  Compute<T> best[WIDTH];
  Vector<int, WIDTH> best_tap;
  for (int i = 0; i < WIDTH; ++i) best[i] = -INFINITY_OF<Compute<T>>, best_tap.at[i] = 0;
  for (int tap = g.kernel_height * g.kernel_width - 1; tap >= 0; --tap) {
    const int h = g.pixel_h(at.row, tap / g.kernel_width), w = g.pixel_w(at.column, tap % g.kernel_width);
    if (!g.has(h, w)) continue;
    const Vector<T, WIDTH> values = load<WIDTH>(x + g.x(at.n, c, h, w));
    for (int i = 0; i < WIDTH; ++i) {
      const Compute<T> value = to_compute(values.at[i]);
      if (value >= best[i] || value != value) best[i] = value, best_tap.at[i] = tap;
    }
  }
  Vector<T, WIDTH> result;
  for (int i = 0; i < WIDTH; ++i) result.at[i] = from_compute<T>(best[i]);
  const long long to = g.y(at.n, c, at.row, at.column);
  store<WIDTH>(y + to, result);
  store<WIDTH>(winner + to, best_tap);
}

// For each tap of a window that pixel (h, w) is in: visit(p, q, tap), from the first tap to the last.
template <typename Visit>
__device__ void each_window(const Geometry& g, int h, int w, Visit visit) {
  for (int r = 0; r < g.kernel_height; ++r) {
    const int down = h + g.before_h - r * g.dilation_h, p = down / g.stride_h;
    if (down < 0 || down % g.stride_h != 0 || p >= g.grid_height) continue;
    for (int s = 0; s < g.kernel_width; ++s) {
      const int across = w + g.before_w - s * g.dilation_w, q = across / g.stride_w;
      if (across < 0 || across % g.stride_w != 0 || q >= g.grid_width) continue;
      visit(p, q, r * g.kernel_width + s);
    }
  }
}

// dx[n, c, h, w] = sum of dy over the windows that the pixel has won.
template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pooling_max_backward(const T* dy, const int* winner, T* dx, GEOMETRY_PARAMETERS) {
  const Geometry g = GEOMETRY;
  const Position at(g.images, g.channels / WIDTH, g.height, g.width, g.x_c == 1);
  if (!at.exists) return;
  const int c = at.c * WIDTH;
  Compute<T> sums[WIDTH] = {};
  each_window(g, at.row, at.column, [&](int p, int q, int tap) {
    const long long from = g.y(at.n, c, p, q);
    const Vector<int, WIDTH> winners = load<WIDTH>(winner + from);
    const Vector<T, WIDTH> gradients = load<WIDTH>(dy + from);
    for (int i = 0; i < WIDTH; ++i)
      if (winners.at[i] == tap) sums[i] += to_compute(gradients.at[i]);
  });
  Vector<T, WIDTH> result;
  for (int i = 0; i < WIDTH; ++i) result.at[i] = from_compute<T>(sums[i]);
  store<WIDTH>(dx + g.x(at.n, c, at.row, at.column), result);
}

// What one pixel counts in the mean of window (p, q): 1 / its pixels, with or without those outside of the image.
template <typename C>
__device__ C share_of(const Geometry& g, int p, int q, int count_include_pad) {
  if (count_include_pad) return C(1) / (g.kernel_height * g.kernel_width);
  int rows = 0, columns = 0;
  for (int r = 0; r < g.kernel_height; ++r) rows += g.has(g.pixel_h(p, r), 0);
  for (int s = 0; s < g.kernel_width; ++s) columns += g.has(0, g.pixel_w(q, s));
  return C(1) / (rows * columns);
}

// y = the mean of each window.
template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pooling_average_forward(const T* x, T* y, int count_include_pad, GEOMETRY_PARAMETERS) {
  const Geometry g = GEOMETRY;
  const Position at(g.images, g.channels / WIDTH, g.grid_height, g.grid_width, g.y_c == 1);
  if (!at.exists) return;
  const int c = at.c * WIDTH;
  Compute<T> sums[WIDTH] = {};
  for (int r = 0; r < g.kernel_height; ++r)
    for (int s = 0; s < g.kernel_width; ++s) {
      const int h = g.pixel_h(at.row, r), w = g.pixel_w(at.column, s);
      if (!g.has(h, w)) continue;
      const Vector<T, WIDTH> values = load<WIDTH>(x + g.x(at.n, c, h, w));
      for (int i = 0; i < WIDTH; ++i) sums[i] += to_compute(values.at[i]);
    }
  const Compute<T> share = share_of<Compute<T>>(g, at.row, at.column, count_include_pad);
  Vector<T, WIDTH> result;
  for (int i = 0; i < WIDTH; ++i) result.at[i] = from_compute<T>(sums[i] * share);
  store<WIDTH>(y + g.y(at.n, c, at.row, at.column), result);
}

// dx[n, c, h, w] = sum of dy times share over the windows that the pixel is in.
template <typename T, int WIDTH>
__global__ void __launch_bounds__(THREADS, BLOCKS)
    pooling_average_backward(const T* dy, T* dx, int count_include_pad, GEOMETRY_PARAMETERS) {
  const Geometry g = GEOMETRY;
  const Position at(g.images, g.channels / WIDTH, g.height, g.width, g.x_c == 1);
  if (!at.exists) return;
  const int c = at.c * WIDTH;
  Compute<T> sums[WIDTH] = {};
  each_window(g, at.row, at.column, [&](int p, int q, int) {
    const Compute<T> share = share_of<Compute<T>>(g, p, q, count_include_pad);
    const Vector<T, WIDTH> gradients = load<WIDTH>(dy + g.y(at.n, c, p, q));
    for (int i = 0; i < WIDTH; ++i) sums[i] += to_compute(gradients.at[i]) * share;
  });
  Vector<T, WIDTH> result;
  for (int i = 0; i < WIDTH; ++i) result.at[i] = from_compute<T>(sums[i]);
  store<WIDTH>(dx + g.x(at.n, c, at.row, at.column), result);
}
