// What the kernels of a convolution share: its geometry, and how its sums become products of matrices.
//
// Between an image x (N, C, H, W) and a grid y (N, O, P, Q) of the windows on it stands a filter w
// (O, C / groups, R, S):
//
//   y[n, o, p, q] = sum over c, r, s of  x[n, c, h, w] w[o, c, r, s],
//   h = p stride_h + r dilation_h - before_h,  w = q stride_w + s dilation_w - before_w,
//
// where pixels outside of the image are 0 and c runs over the channels of o's group. Arrays are told by their strides
// (in elements), so that the same kernels serve NCHW and NHWC.
#pragma once

#include "common.cuh"

// Every kernel ends in these parameters, in this order; Geometry.arguments of convolution_geometry.py passes them.
#define GEOMETRY_PARAMETERS                                                                                          \
  int images, int channels, int height, int width, int features, int grid_height, int grid_width, int kernel_height, \
      int kernel_width, int stride_h, int stride_w, int before_h, int before_w, int dilation_h, int dilation_w,      \
      int groups, long long x_n, long long x_c, long long x_h, long long x_w, long long w_o, long long w_c,          \
      long long w_r, long long w_s, long long y_n, long long y_c, long long y_h, long long y_w

#define GEOMETRY                                                                                                    \
  Geometry{images,   channels, height,     width,      features, grid_height, grid_width, kernel_height, kernel_width, \
           stride_h, stride_w, before_h,   before_w,   dilation_h, dilation_w, groups,   x_n,         x_c,         \
           x_h,      x_w,      w_o,        w_c,        w_r,      w_s,         y_n,        y_c,           y_h, y_w}

struct Geometry {
  int images, channels, height, width;          // N, C, H, W
  int features, grid_height, grid_width;        // O, P, Q
  int kernel_height, kernel_width;              // R, S
  int stride_h, stride_w, before_h, before_w;   // before: the padding above and to the left
  int dilation_h, dilation_w, groups;
  long long x_n, x_c, x_h, x_w;                 // strides of the image
  long long w_o, w_c, w_r, w_s;                 // of the filter
  long long y_n, y_c, y_h, y_w;                 // of the grid

  __device__ int channel_share() const { return channels / groups; }
  __device__ int feature_share() const { return features / groups; }
};

enum Activation { NONE = 0, RELU = 1 };

// NaN goes through, as in numpy's maximum.
template <typename C>
__device__ C activate(C value, int activation) {
  return activation == RELU && value < C(0) ? C(0) : value;
}

// ---- The three sums as matrix products ------------------------------------------------------------------------------
//
// Unrolling the image (im2col; Chellapilla, Puri, Simard, "High performance convolutional neural networks for document
// processing", 2006) makes a matrix U(x) with a row for each window (n, p, q) and a column for each tap (r, s, c):
//
//   forward          y  = U(x) w^T            (N P Q, R S C) (R S C, O)
//   backward-weight  dw = dy^T U(x)           (O, N P Q) (N P Q, R S C)
//   backward-data    dx = U'(dy) w'           (N H W, R S O) (R S O, C)
//
// None of these matrices is ever in memory ("implicit GEMM"; Chetlur et al., "cuDNN: efficient primitives for deep
// learning", 2014): an element's address is the sum of what its row says and what its column says, a Place each.
//
// Backward-data is unrolled as well. With a stride, pixel h = i stride + phase of the image is met only by the taps r
// for which  p = (h + before - r dilation) / stride  is whole: one in every stride / gcd(stride, dilation). For each
// phase these form a filter of their own, smaller, with stride 1, so nothing is multiplied by the zeros in between.

enum Pass { FORWARD = 0, BACKWARD_DATA = 1, BACKWARD_WEIGHT = 2 };

// What a row or a column of an unrolled matrix adds to the address, and to the pixel, of an element.
struct Place {
  long long offset;
  int h, w;
};

constexpr int OUTSIDE = -(1 << 29);  // a pixel that no tap brings back into an image

// One axis of the taps: pixel i of the result meets pixel  i scale + shift + j reach  of the source through tap
// first + j step of the filter, for 0 <= j < count.
struct Taps {
  int first, step, count, scale, shift, reach;
};

__device__ inline Taps forward_taps(int kernel, int stride, int before, int dilation) {
  return {0, 1, kernel, stride, -before, dilation};
}

__device__ inline int greatest_common_divisor(int a, int b) {
  while (b != 0) {
    const int rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

__device__ inline Taps backward_taps(int kernel, int stride, int before, int dilation, int phase) {
  const int common = greatest_common_divisor(stride, dilation), step = stride / common;
  int first = 0;
  while (first < step && (phase + before - first * dilation) % stride != 0) ++first;
  const int count = first < step && first < kernel ? (kernel - first + step - 1) / step : 0;
  return {first, step, count, 1, (phase + before - first * dilation) / stride, -dilation / common};
}

// A source (image or grid) as the matrix U: rows are pixels of the result, columns are taps, channels running fastest.
struct Unrolled {
  int rows, columns;            // N times pixels of the result (of one phase), taps times channels of one group
  int result_height, result_width;
  int channels, height, width;  // of the source; channels of one group
  long long n, c, h, w;         // strides of the source
  long long group_offset;       // of the group's first channel
  Taps taps_h, taps_w;

  __device__ Place pixel(int row) const {
    if (row >= rows) return {0, OUTSIDE, OUTSIDE};
    const int q = row % result_width, above = row / result_width;
    const int p = above % result_height, image = above / result_height;
    return pixel(image, p, q);
  }

  __device__ Place pixel(int image, int p, int q) const {
    const int from_h = p * taps_h.scale + taps_h.shift, from_w = q * taps_w.scale + taps_w.shift;
    return {image * n + from_h * h + from_w * w, from_h, from_w};
  }

  __device__ Place tap(int column) const {
    if (column >= columns) return {0, OUTSIDE, OUTSIDE};
    const int channel = column % channels, place = column / channels;
    return tap(place / taps_w.count, place % taps_w.count, channel);
  }

  __device__ Place tap(int j_h, int j_w, int channel) const {
    const int by_h = j_h * taps_h.reach, by_w = j_w * taps_w.reach;
    return {group_offset + by_h * h + by_w * w + channel * c, by_h, by_w};
  }

  __device__ bool has(int at_h, int at_w) const {
    return unsigned(at_h) < unsigned(height) && unsigned(at_w) < unsigned(width);
  }
};

// U(x).
__device__ inline Unrolled unroll_image(const Geometry& g, int group) {
  Unrolled u;
  u.taps_h = forward_taps(g.kernel_height, g.stride_h, g.before_h, g.dilation_h);
  u.taps_w = forward_taps(g.kernel_width, g.stride_w, g.before_w, g.dilation_w);
  u.result_height = g.grid_height, u.result_width = g.grid_width;
  u.channels = g.channel_share(), u.height = g.height, u.width = g.width;
  u.n = g.x_n, u.c = g.x_c, u.h = g.x_h, u.w = g.x_w;
  u.group_offset = group * u.channels * g.x_c;
  u.rows = g.images * u.result_height * u.result_width;
  u.columns = u.taps_h.count * u.taps_w.count * u.channels;
  return u;
}

// U'(dy), for the pixels of the image in one phase.
__device__ inline Unrolled unroll_grid(const Geometry& g, int group, int phase_h, int phase_w) {
  Unrolled u;
  u.taps_h = backward_taps(g.kernel_height, g.stride_h, g.before_h, g.dilation_h, phase_h);
  u.taps_w = backward_taps(g.kernel_width, g.stride_w, g.before_w, g.dilation_w, phase_w);
  u.result_height = (g.height - phase_h + g.stride_h - 1) / g.stride_h;
  u.result_width = (g.width - phase_w + g.stride_w - 1) / g.stride_w;
  u.channels = g.feature_share(), u.height = g.grid_height, u.width = g.grid_width;
  u.n = g.y_n, u.c = g.y_c, u.h = g.y_h, u.w = g.y_w;
  u.group_offset = group * u.channels * g.y_c;
  u.rows = g.images * u.result_height * u.result_width;
  u.columns = u.taps_h.count * u.taps_w.count * u.channels;
  return u;
}

// Forward or backward-data of one group (and phase): result = U(source) times the filter.
struct Product {
  Unrolled source;
  int results;                       // channels of the result in one group
  long long filter_c, filter_result;  // strides of the filter by channel of the source and of the result
  long long filter_offset;            // of the group
  long long filter_h, filter_w;       // strides of the filter by tap
  long long n, c, h, w;               // strides of the result
  int stride_h, stride_w, phase_h, phase_w;
  int first_result;                   // the group's first channel

  // Of tap (j_h, j_w) and channel of the source in the filter.
  __device__ long long filter_tap(int j_h, int j_w, int channel) const {
    return filter_offset + (source.taps_h.first + j_h * source.taps_h.step) * filter_h +
           (source.taps_w.first + j_w * source.taps_w.step) * filter_w + channel * filter_c;
  }

  __device__ long long filter_tap(int column) const {
    const int place = column / source.channels, across = source.taps_w.count;
    return filter_tap(place / across, place % across, column % source.channels);
  }

  // Where the result of a row lies.
  __device__ long long result(int row) const {
    const int q = row % source.result_width, above = row / source.result_width;
    const int p = above % source.result_height, image = above / source.result_height;
    return image * n + (p * stride_h + phase_h) * h + (q * stride_w + phase_w) * w + first_result * c;
  }
};

// part: group of a forward pass; group, phase_h, phase_w of a backward pass, the last running fastest.
template <int PASS>
__device__ Product make_product(const Geometry& g, int part) {
  Product product;
  if (PASS == FORWARD) {
    product.source = unroll_image(g, part);
    product.results = g.feature_share();
    product.first_result = part * product.results;
    product.filter_offset = product.first_result * g.w_o;
    product.filter_c = g.w_c, product.filter_result = g.w_o;
    product.n = g.y_n, product.c = g.y_c, product.h = g.y_h, product.w = g.y_w;
    product.stride_h = product.stride_w = 1, product.phase_h = product.phase_w = 0;
  } else {
    const int group = part / (g.stride_h * g.stride_w);
    product.phase_h = part / g.stride_w % g.stride_h, product.phase_w = part % g.stride_w;
    product.source = unroll_grid(g, group, product.phase_h, product.phase_w);
    product.results = g.channel_share();
    product.first_result = group * product.results;
    product.filter_offset = group * g.feature_share() * g.w_o;
    product.filter_c = g.w_o, product.filter_result = g.w_c;
    product.n = g.x_n, product.c = g.x_c, product.h = g.x_h, product.w = g.x_w;
    product.stride_h = g.stride_h, product.stride_w = g.stride_w;
  }
  product.filter_h = g.w_r, product.filter_w = g.w_s;
  return product;
}

// ---- Counting -------------------------------------------------------------------------------------------------------

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
