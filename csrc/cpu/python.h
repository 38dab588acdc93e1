// What the parts of the Python binding share.
#pragma once

#include "group.h"
#include "node.h"

#include <array>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <string>

namespace ringleader {

namespace py = pybind11;

Type type_named(const std::string& name);  // numpy's and ml_dtypes' names; std::invalid_argument
Fold fold_named(const std::string& name);

constexpr size_t kHistory = 256;  // calls whose signatures are remembered

// A group as Python sees it: it also counts calls and remembers what they were.
class Caller {
public:
    Caller(std::shared_ptr<Node> node, uint32_t context, int rank, std::vector<int> members)
        : node(std::move(node)), group(this->node->device(), context, rank, std::move(members)) {}

    // The number of a call that starts now.
    uint64_t enter(uint64_t digest, std::shared_ptr<const std::string> text) {
        const uint64_t number = calls++;
        group.enter(number, digest);
        history[number % kHistory] = {number, std::move(text)};
        return number;
    }
    py::object signature(uint64_t number) const {
        const auto& [entered, text] = history[number % kHistory];
        return text && entered == number ? py::cast(*text) : py::none();
    }

    std::shared_ptr<Node> node;
    Group group;
    uint64_t calls = 0;
    uint64_t seen_alarms = 0;
    py::object watch = py::none();  // watch(number, missing, seconds waited); raises to give up
    std::array<std::pair<uint64_t, std::shared_ptr<const std::string>>, kHistory> history;
};

// A wait on behalf of Python: lets go of Python's lock once it is not a short one, and asks Python now and then.
class PythonGuard final : public Guard {
public:
    PythonGuard(Caller& caller, uint64_t number) : caller_(caller), number_(number) {}
    ~PythonGuard() override { restore(); }
    void settle() override {
        if (state_) return;
        start_ = std::chrono::steady_clock::now();
        state_ = PyEval_SaveThread();
    }
    void look(int missing) override {
        settle();
        const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start_;
        restore();
        caller_.watch(number_, missing, waited.count());
        state_ = PyEval_SaveThread();
    }

private:
    void restore() {
        if (state_) PyEval_RestoreThread(state_);
        state_ = nullptr;
    }
    Caller& caller_;
    const uint64_t number_;
    PyThreadState* state_ = nullptr;
    std::chrono::steady_clock::time_point start_{};
};

// Blocking. Behind other calls that are still under way, it is one of them, so that the order stays.
void call(Caller& caller, const std::shared_ptr<const Plan>& plan, uint64_t number, const char* input, char* output);

void bind_messages(py::module_& m);
void bind_calls(py::module_& m);
void bind_quick(py::module_& m);

}  // namespace ringleader
