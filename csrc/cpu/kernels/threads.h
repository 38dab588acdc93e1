// Work in parts on the threads of OpenMP: as many as OMP_NUM_THREADS or threadpoolctl says; one without OpenMP.
#pragma once

#include <cstddef>
#include <exception>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace ringleader::kernels {

// Calls body(begin, end) for parts of 0 ... count, each on a thread. Parts begin at multiples of `unit`; `nanoseconds`: about
// what all of it takes, because a part of less than 50 us is not worth a thread. What a body throws is thrown here.
template <class Body> void parallel(size_t count, size_t unit, double nanoseconds, Body body) {
#if defined(_OPENMP)
    const size_t units = (count + unit - 1) / unit, worth = size_t(nanoseconds / 50e3);
    size_t parts = size_t(omp_get_max_threads());
    parts = parts < units ? parts : units;
    parts = parts < worth ? parts : worth;
    if (parts > 1) {
        std::exception_ptr thrown;
#pragma omp parallel num_threads(int(parts))
        {
            const size_t part = size_t(omp_get_thread_num()), all = size_t(omp_get_num_threads());
            const size_t begin = units * part / all * unit, end = units * (part + 1) / all * unit;
            try {
                if (begin < end) body(begin, end < count ? end : count);
            } catch (...) {
#pragma omp critical(ringleader_thrown)
                thrown = std::current_exception();
            }
        }
        if (thrown) std::rethrow_exception(thrown);
        return;
    }
#endif
    (void)unit, (void)nanoseconds;
    body(0, count);
}

}  // namespace ringleader::kernels
