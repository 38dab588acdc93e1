// Collective calls for Python: groups, plans, jobs, and a way in that costs well under a microsecond.
#include "python.h"

#include <algorithm>
#include <stdexcept>

namespace ringleader {

namespace {

using Spans = std::vector<std::tuple<int, size_t, size_t>>;
// kind ("send", ...), peer, from, to, how each of `to` is entered, messages to wait for
using Step = std::tuple<std::string, int, Spans, Spans, std::vector<int>, std::vector<int>>;

// Notes what the operation needs. std::invalid_argument if it is none.
void check(const Operation& operation, Program& program) {
    const bool local = operation.kind == Operation::copy || operation.kind == Operation::reduce;
    if (operation.peer < 0 && !local) throw std::invalid_argument("a message needs a peer");
    if (!local) program.ranks = std::max(program.ranks, operation.peer + 1);
    if (operation.enter.size() != operation.to.size()) throw std::invalid_argument("not one way in for each place");
    if (local && (operation.from.empty() || operation.to.size() != 1)) throw std::invalid_argument("a place is missing");
    for (int message : operation.after)
        if (message < 0 || static_cast<size_t>(message) >= program.operations.size())
            throw std::invalid_argument("an operation waits for one that is not before it");
    for (const auto* places : {&operation.from, &operation.to})
        for (const Place& place : *places) {
            size_t end;
            if (place.buffer < 0 || place.buffer >= kBuffers || __builtin_add_overflow(place.start, place.bytes, &end))
                throw std::invalid_argument("no such place");
            if (place.buffer == 0) program.input = std::max(program.input, end);
            if (place.buffer == 1) program.output = std::max(program.output, end);
            if ((place.buffer == 2 && end > program.scratch) || (place.buffer == 3 && end > program.stage))
                throw std::invalid_argument("a place beyond its buffer");
        }
}

std::shared_ptr<Program> make_program(const std::vector<Step>& steps, size_t scratch, size_t stage) {
    auto program = std::make_shared<Program>();
    program->scratch = scratch;
    program->stage = stage;
    for (const auto& [kind, peer, from, to, enter, after] : steps) {
        Operation operation{};
        operation.kind = kind == "send"      ? Operation::send
                         : kind == "recv"    ? Operation::receive
                         : kind == "copy"    ? Operation::copy
                         : kind == "reduce"  ? Operation::reduce
                                             : throw std::invalid_argument("no instruction " + kind);
        operation.peer = peer;
        for (auto [buffer, start, bytes] : from) operation.from.push_back({buffer, start, bytes});
        for (auto [buffer, start, bytes] : to) operation.to.push_back({buffer, start, bytes});
        for (int how : enter) operation.enter.push_back(static_cast<Enter>(how));
        operation.after = after;
        check(operation, *program);
        program->operations.push_back(std::move(operation));
    }
    return program;
}

std::shared_ptr<Plan> make_plan(const std::string& way, uint64_t digest, const std::string& text, const std::string& type,
                 const std::string& fold, size_t count, bool divide, bool synchronous,
                 std::shared_ptr<Program> program) {
    auto plan = std::make_shared<Plan>();
    plan->way = way == "small" ? Way::small : way == "direct" ? Way::direct : Way::program;
    plan->text = text;
    plan->digest = digest;
    plan->type = type_named(type);
    plan->fold = fold_named(fold);
    plan->count = count;
    plan->divide = divide;
    plan->synchronous = synchronous;
    plan->program = std::move(program);
    if (plan->way == Way::program && !plan->program) throw std::invalid_argument("a program is missing");
    if (plan->way == Way::small && count * size_of(plan->type) > kSmall)
        throw std::invalid_argument("too large for the latency path");
    if (!find_folder(plan->fold, plan->type)) throw std::invalid_argument(fold + " of " + type);
    return plan;
}

void run(Caller& caller, Job& job) {
    PythonGuard guard(caller, job.number);
    if (job.plan->way != Way::small) guard.settle();
    caller.group.run(job, guard);
}

std::shared_ptr<Job> make_job(const std::shared_ptr<const Plan>& plan, uint64_t number, const char* input, char* output) {
    auto job = std::make_shared<Job>();
    job->plan = plan;
    job->number = number;
    job->input = input;
    job->output = output;
    return job;
}

// The array's memory, of which `needed` bytes are used. Python has checked shapes; this is the last line of defence.
char* data(const py::object& x, size_t needed) {
    if (x.is_none() && !needed) return nullptr;
    if (!py::isinstance<py::array>(x)) throw py::type_error("the engine needs a numpy array");
    const auto array = py::reinterpret_borrow<py::array>(x);
    if (!(array.flags() & py::array::c_style) || static_cast<size_t>(array.nbytes()) < needed)
        throw std::invalid_argument("the engine needs a contiguous array of " + std::to_string(needed) + " bytes");
    return static_cast<char*>(py::detail::array_proxy(x.ptr())->data);
}

std::pair<char*, char*> buffers(const Caller& caller, const std::shared_ptr<const Plan>& plan, const py::object& input,
                                const py::object& output) {
    const Program* program = plan->program.get();
    if (!program) return {nullptr, data(output, plan->count * size_of(plan->type))};
    if (program->ranks > caller.group.size()) throw std::invalid_argument("the program is for more ranks");
    return {data(input, program->input), data(output, program->output)};
}

}  // namespace

void call(Caller& caller, const std::shared_ptr<const Plan>& plan, uint64_t number, const char* input, char* output) {
    if (caller.group.idle()) {
        Job job;
        job.plan = plan;
        job.number = number;
        job.input = input;
        job.output = output;
        return run(caller, job);
    }
    auto job = make_job(plan, number, input, output);
    caller.group.submit(job);
    PythonGuard guard(caller, number);
    try {
        caller.group.await(*job, guard);
    } catch (...) {
        caller.group.stop(*job);
        throw;
    }
}

void bind_calls(py::module_& m) {
    py::class_<Program, std::shared_ptr<Program>>(m, "Program")
        .def(py::init(&make_program), py::arg("steps"), py::arg("scratch"), py::arg("stage"));
    py::class_<Plan, std::shared_ptr<Plan>>(m, "Plan")
        .def(py::init(&make_plan), py::arg("way"), py::arg("digest"), py::arg("text"), py::arg("type"),
             py::arg("fold"), py::arg("count"), py::arg("divide") = false, py::arg("synchronous") = false,
             py::arg("program") = nullptr)
        .def_property_readonly("divides", [](const Plan& plan) { return plan.divide; });
    py::class_<Job, std::shared_ptr<Job>>(m, "Job")
        .def_property_readonly("done", [](const Job& job) { return job.done.load(std::memory_order_acquire); })
        .def_property_readonly("missing", [](const Job& job) { return job.missing.load(); })
        .def_readonly("error", &Job::error);
    py::class_<Caller, std::shared_ptr<Caller>>(m, "Caller")
        .def(py::init<std::shared_ptr<Node>, uint32_t, int, std::vector<int>>(), py::arg("node"),
             py::arg("context"), py::arg("rank"), py::arg("members"))
        .def_property_readonly("area", [](const Caller& caller) { return caller.group.area(); })
        .def("connect", [](Caller& caller, const std::vector<size_t>& areas) { caller.group.connect(areas); })
        .def("free", [](Caller& caller) { caller.group.free(); })
        .def_readwrite("watch", &Caller::watch)
        .def_readonly("calls", &Caller::calls)
        .def("enter", [](Caller& caller, uint64_t digest, const std::string& text) {
            return caller.enter(digest, std::make_shared<std::string>(text));
        })
        .def("signature", &Caller::signature)
        .def("conflict", [](const Caller& caller, uint64_t number) { return caller.group.conflict(number); })
        .def("suspect", [](Caller& caller, int hint) { return caller.group.suspect(hint); })
        .def("close", [](Caller& caller) { caller.group.close(); })
        .def("raise_alarm", [](Caller& caller, int rank) { caller.group.raise_alarm(rank); })
        .def("heard", [](Caller& caller) { ++caller.seen_alarms; })
        .def("probe", [](Caller& caller, Group::Purpose purpose) -> py::object {
            int peer;
            uint64_t key;
            size_t length;
            if (!caller.group.device().probe(caller.group.context(purpose), peer, key, length)) return py::none();
            return py::make_tuple(caller.group.rank_of(peer), key, length);
        })
        .def("call", [](Caller& caller, const std::shared_ptr<const Plan>& plan, uint64_t number, const py::object& input,
                        const py::object& output) {
            const auto [from, to] = buffers(caller, plan, input, output);
            call(caller, plan, number, from, to);
        }, py::arg("plan"), py::arg("number"), py::arg("input").none(true), py::arg("output"))
        .def("submit", [](Caller& caller, const std::shared_ptr<const Plan>& plan, uint64_t number, const py::object& input,
                          const py::object& output) {
            const auto [from, to] = buffers(caller, plan, input, output);
            auto job = make_job(plan, number, from, to);
            caller.group.submit(job);
            return job;
        }, py::arg("plan"), py::arg("number"), py::arg("input").none(true), py::arg("output"))
        .def("wait", [](Caller& caller, Job& job) {
            PythonGuard guard(caller, job.number);
            caller.group.await(job, guard);
        })
        .def("stop", [](Caller& caller, Job& job) { caller.group.stop(job); },
             py::call_guard<py::gil_scoped_release>());
}

}  // namespace ringleader
