// Kernels for the arithmetic of training, float32 and float64, each on one core (threads.h shares the work out). Arrays are
// contiguous; no alignment is assumed.
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

// q (batch, kv_heads * groups, queries, size), k (batch, kv_heads, keys, size), v (batch, kv_heads, keys, value_size).
struct Attention {
    size_t batch, kv_heads, groups, queries, keys, size, value_size;
    double scale;
    bool causal;
};
// An array of four axes; the last one's elements follow each other, the others have these strides, in elements.
template <class T> struct Heads { T* at; ptrdiff_t batch, head, row; };
// Element (i, j) is at[i * row + j * col].
template <class T> struct Matrix { const T* at; ptrdiff_t row, col; };
// What is added to a product: element (i, j) is at[i * row + j]. Nothing (null), a bias (row 0), or a matrix.
template <class T> struct Addend { const T* at; size_t row; };

// The steps of recurrent layers, in the order of time: step s has rows start[s] ... start[s] + rows[s].
struct Steps { const size_t *start, *rows; size_t count; };

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

    // c (m, n), rows `pitch` apart, = a (m, k) b (k, n) + plus, which may be c itself. room: matmul_room elements, not set.
    void (*matmul)(T* c, size_t pitch, Matrix<T> a, Matrix<T> b, size_t m, size_t n, size_t k, Addend<T> plus, T* room);
    size_t matmul_room;

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

    // Gates i, f, g, o (R, 4 * hidden) and r, z, n (R, 3 * hidden) as in PyTorch: on entry what the inputs contribute, on
    // return the gates; w (gates, hidden). R: rows of all steps; the first states, dh and dc are (N, hidden). dh and dc: on
    // entry the gradient of the last states, on return that of the first; out (R, hidden): the gradient of h.
    void (*lstm)(T* gates, T* c, T* tanh_c, T* h, const T* w, const T* h_first, const T* c_first, Steps steps,
                 size_t hidden, T* room);
    void (*lstm_backward)(T* dgates, T* dh, T* dc, const T* out, const T* w, const T* gates, const T* c,
                          const T* tanh_c, const T* c_first, Steps steps, size_t hidden, T* room);
    // product (R, 3 * hidden): w h + bias, which may be null.
    void (*gru)(T* gates, T* product, T* h, const T* w, const T* bias, const T* h_first, Steps steps, size_t hidden,
                T* room);
    void (*gru_backward)(T* dgates, T* dproduct, T* dh, const T* out, const T* w, const T* gates, const T* product,
                         const T* h, const T* h_first, Steps steps, size_t hidden, T* room);
    size_t (*recurrent_room)(size_t gates, size_t hidden);

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

    // Heads begin...end - 1 of the batch * kv_heads of keys. No size is 0; log_sums (batch, heads, queries).
    // room: attention_room(s) elements, on a cache line.
    void (*attention)(Heads<T> out, T* log_sums, Heads<const T> q, Heads<const T> k, Heads<const T> v,
                      const Attention& s, size_t begin, size_t end, T* room);
    void (*attention_backward)(Heads<T> dq, Heads<T> dk, Heads<T> dv, Heads<const T> g, Heads<const T> q,
                               Heads<const T> k, Heads<const T> v, Heads<const T> out, const T* log_sums,
                               const Attention& s, size_t begin, size_t end, T* room);
    size_t (*attention_room)(const Attention& s);

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
