// Kernels for the arithmetic of training on one core: float32 and float64, contiguous arrays, no alignment assumed.
//
// Each instruction set fills one Table (level_*.cpp compile kernels.inc once each); `table` gives the one that this
// process uses, as RINGLEADER_CPU allows. Results of the instruction sets differ in the last bits: they sum in other
// orders, and only some fuse multiplication and addition. Outputs never overlap inputs, unless a comment says so.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ringleader::kernels {

enum class Unary { exp, tanh, sigmoid, erf, relu, silu, gelu, gelu_tanh };
// The gradients get (g, y), y being the output, where that is enough; silu and gelu get (g, x). add_tanh: tanh(a + b).
enum class Binary { tanh, sigmoid, relu, silu, gelu, gelu_tanh, add_tanh };
constexpr size_t unary_count = 8, binary_count = 7;

// Convolution with stride 1: x (n, c, h, w), zeros around it, weight (o, c, kh, kw), y (n, o, oh(), ow()).
struct Convolution {
    size_t n, c, h, w, o, kh, kw, ph, pw;
    size_t rows() const { return h + 2 * ph; }
    size_t pitch() const { return w + 2 * pw; }
    size_t oh() const { return rows() - kh + 1; }
    size_t ow() const { return pitch() - kw + 1; }
    size_t plane() const { return (rows() * pitch() + 15) / 16 * 16; }  // in scratch: whole vectors, all aligned
    size_t taps() const { return c * kh * kw; }
};

struct Sgd { double lr, momentum, dampening, weight_decay; bool nesterov, first; };
// bias1 = 1 - beta1^t and bias2 likewise; decoupled: AdamW.
struct Adam { double lr, beta1, beta2, eps, weight_decay, bias1, bias2; bool decoupled; };
struct Adagrad { double lr, eps, weight_decay; };

template <class T> struct Table {
    void (*unary[unary_count])(T* y, const T* x, size_t count);
    void (*binary[binary_count])(T* y, const T* a, const T* b, size_t count);
    // alpha tanh(beta x); alpha is not 0.
    void (*scaled_tanh)(T* y, const T* x, size_t count, T alpha, T beta);
    void (*scaled_tanh_backward)(T* dx, const T* g, const T* y, size_t count, T alpha, T beta);

    // Along the last axis: x (rows, cols).
    void (*softmax)(T* y, const T* x, size_t rows, size_t cols);
    void (*softmax_backward)(T* dx, const T* g, const T* y, size_t rows, size_t cols);
    void (*log_softmax)(T* y, const T* x, size_t rows, size_t cols);
    void (*log_softmax_backward)(T* dx, const T* g, const T* y, size_t rows, size_t cols);
    // target (rows,) is in [0, cols) or `ignore`. stats (rows, 2): the maximum, and log sum exp(x - maximum).
    void (*cross_entropy)(T* loss, T* stats, const T* x, const int64_t* target, size_t rows, size_t cols,
                          int64_t ignore, T smoothing);
    void (*cross_entropy_backward)(T* dx, const T* g, const T* stats, const T* x, const int64_t* target, size_t rows,
                                   size_t cols, int64_t ignore, T smoothing);
    // weight and bias (cols,) may be null; rms norm has neither mean nor bias. scratch: norm_scratch(cols) of T.
    void (*layer_norm)(T* y, T* mean, T* rstd, const T* x, const T* weight, const T* bias, size_t rows, size_t cols,
                       T eps);
    void (*layer_norm_backward)(T* dx, double* dweight, double* dbias, const T* g, const T* x, const T* mean,
                                const T* rstd, const T* weight, size_t rows, size_t cols, T* scratch);
    void (*rms_norm)(T* y, T* rstd, const T* x, const T* weight, size_t rows, size_t cols, T eps);
    void (*rms_norm_backward)(T* dx, double* dweight, const T* g, const T* x, const T* rstd, const T* weight,
                              size_t rows, size_t cols, T* scratch);

    // Gates: (rows, 4 * hidden) i, f, g, o and (rows, 3 * hidden) r, z, n, as in PyTorch; a and b are the addends.
    void (*lstm)(T* gates, T* c, T* tanh_c, T* h, const T* a, const T* b, const T* c_before, size_t rows,
                 size_t hidden);
    void (*lstm_backward)(T* da, T* dc_before, const T* dh, const T* dc, const T* gates, const T* c_before,
                          const T* tanh_c, size_t rows, size_t hidden);
    void (*gru)(T* gates, T* h, const T* a, const T* b, const T* h_before, size_t rows, size_t hidden);
    void (*gru_backward)(T* da, T* db, T* dh_before, const T* dh, const T* gates, const T* b, const T* h_before,
                         size_t rows, size_t hidden);

    // velocity is null without momentum, and zeros before the first step.
    void (*sgd)(T* w, T* velocity, const T* g, size_t count, const Sgd& options);
    void (*adam)(T* w, T* m, T* v, const T* g, size_t count, const Adam& options);
    void (*adagrad)(T* w, T* sum, const T* g, size_t count, const Adagrad& options);

    // scratch: as many T as conv_scratch says, all zero, best at a multiple of 64 bytes.
    void (*conv2d)(T* y, const T* x, const T* weight, const T* bias, const Convolution& shape, T* scratch);
    void (*conv2d_backward_data)(T* dx, const T* g, const T* weight, const Convolution& shape, T* scratch);
    void (*conv2d_backward_weight)(T* dweight, T* dbias, const T* g, const T* x, const Convolution& shape, T* scratch);
    // Windows of 2 x 2 with stride 2; x (planes, h, w) -> (planes, h / 2, w / 2). winner: 0 to 3, row by row.
    void (*avg_pool2x2)(T* y, const T* x, size_t planes, size_t h, size_t w);
    void (*avg_pool2x2_backward)(T* dx, const T* g, size_t planes, size_t h, size_t w);
    void (*max_pool2x2)(T* y, uint8_t* winner, const T* x, size_t planes, size_t h, size_t w);
    void (*max_pool2x2_backward)(T* dx, const T* g, const uint8_t* winner, size_t planes, size_t h, size_t w);

    // dweight (entries, cols), zeroed, gets g (rows, cols) added at index (rows,).
    void (*embedding_backward)(T* dweight, const T* g, const int64_t* index, size_t rows, size_t cols);
};

inline size_t norm_scratch(size_t cols) { return 2 * cols; }

constexpr size_t slack = 64;         // elements by which a block of the widest vectors may pass an end
// Images whose gradients of weights are summed in registers: so many that what a tile reads stays in the first cache.
inline size_t weight_batch(const Convolution& s) {
    const size_t images = 8192 / (5 * s.rows() * s.pitch() + 1);
    return images < 1 ? 1 : images > 8 ? 8 : images;
}
struct ConvolutionScratch { size_t forward, data, weight; };
inline ConvolutionScratch conv_scratch(const Convolution& s) {
    const size_t plane = s.plane(), margin = s.kh * s.pitch(), both = s.c * plane + s.o * (plane + slack);
    return {both + 2 * slack, s.o * (plane + margin) + s.c * (plane + slack) + s.o * s.taps() + 2 * slack,
            weight_batch(s) * (both + slack) + slack};
}

template <class T> const Table<T>& table();
const char* cpu_level();

struct Tables { Table<float> f32; Table<double> f64; };
namespace baseline { extern const Tables tables; }
#if defined(__x86_64__)
namespace avx2 { extern const Tables tables; }
namespace avx512 { extern const Tables tables; }
#endif

}  // namespace ringleader::kernels
