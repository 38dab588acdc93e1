// Node and point-to-point messages for Python.
#include "copy.h"
#include "python.h"

namespace ringleader {

namespace {

void need_contiguous(const py::array& array) {
    if (!(array.flags() & py::array::c_style)) throw std::invalid_argument("a message needs contiguous memory");
}

// A message under way; keeps the array that it is read from or written to.
class Message {
public:
    Message(std::shared_ptr<Caller> caller, py::array array, bool is_receive, int peer, Group::Purpose purpose,
            uint64_t key, bool any_key, bool synchronous, const std::string& note, bool quiet)
        : caller_(std::move(caller)), array_(std::move(array)), is_receive_(is_receive) {
        need_contiguous(array_);
        char* at = static_cast<char*>(is_receive ? array_.mutable_data() : const_cast<void*>(array_.data()));
        const auto bytes = static_cast<size_t>(array_.nbytes());
        if (note.size() > kInline) throw std::invalid_argument("a note is too long");
        const Group& group = caller_->group;
        const int there = peer == kAny && is_receive ? kAny : group.members().at(static_cast<size_t>(peer));
        if (is_receive) {
            receive_.peer = there;
            receive_.context = group.context(purpose);
            receive_.key = key;
            receive_.any_key = any_key;
            receive_.total = bytes;
            receive_.target = at;
            device().start(receive_);
        } else {
            send_.peer = there;
            send_.context = group.context(purpose);
            send_.key = key;
            send_.synchronous = synchronous;
            send_.note = note;
            send_.quiet = quiet;
            send_.spans = {{at, bytes}};
            done_ = device().start(send_);
        }
    }
    ~Message() { cancel(); }

    bool test() {
        if (done_) return true;
        {
            py::gil_scoped_release unlocked;
            done_ = is_receive_ ? device().advance(receive_) : device().advance(send_);
        }
        if (done_ && receive_.wrong_length)
            throw std::runtime_error("a message of " + std::to_string(receive_.total) + " bytes came for a receive of " +
                                     std::to_string(array_.nbytes()));
        return done_;
    }
    bool done() const { return done_; }
    void cancel() {
        if (done_) return;
        done_ = true;
        is_receive_ ? device().cancel(receive_) : device().cancel(send_);
    }
    // Rank that it is from or for; kAny until a receive from anyone has matched.
    int peer() const {
        const int there = is_receive_ ? receive_.peer : send_.peer;
        return caller_->group.rank_of(there);
    }
    uint64_t key() const { return is_receive_ ? receive_.key : send_.key; }

private:
    Device& device() { return caller_->group.device(); }

    std::shared_ptr<Caller> caller_;
    py::array array_;
    const bool is_receive_;
    bool done_ = false;
    Send send_;
    Receive receive_;
};

py::array empty(std::shared_ptr<Node> node, const std::vector<py::ssize_t>& shape, const py::dtype& dtype) {
    if (py::cast<bool>(dtype.attr("hasobject"))) throw py::type_error("Python objects cannot be shared as memory");
    auto bytes = static_cast<size_t>(dtype.itemsize());
    for (py::ssize_t length : shape) {
        if (length < 0) throw std::invalid_argument("negative dimensions are not allowed");
        if (__builtin_mul_overflow(bytes, static_cast<size_t>(length), &bytes)) throw std::bad_alloc();
    }
    const size_t offset = node->arena().allocate(bytes);
    struct Owner {
        std::shared_ptr<Node> node;
        size_t offset;
    };
    py::capsule owner(new Owner{node, offset}, [](void* pointer) {
        auto* owned = static_cast<Owner*>(pointer);
        owned->node->arena().release(owned->offset);
        delete owned;
    });
    return py::array(dtype, shape, {}, node->arena().at(offset), owner);
}

// The notes that have come since: of each its rank, the note, and whether `take` and `add_up` can have the rest.
py::list hear(Caller& caller) {
    py::list heard;
    const Group& group = caller.group;
    for (const Note& note : caller.group.device().hear(group.context(Group::direct_messages)))
        heard.append(py::make_tuple(group.rank_of(note.peer), py::bytes(note.text), note.here));
    return heard;
}

// Takes the message out; false if its bytes must be received.
bool open(Caller& caller, int peer, uint64_t key, size_t bytes, Unexpected& message) {
    const Group& group = caller.group;
    const int there = group.members().at(static_cast<size_t>(peer));
    if (!caller.group.device().open(group.context(Group::direct_messages), there, key, message)) return false;
    if (message.header.length == bytes) return true;
    throw std::runtime_error("a message of another length than its note says");
}

// The bytes of a message with a note, now, into `array`; false if they must be received. `past`: no cache could hold what
// is received with it.
bool take(Caller& caller, int peer, uint64_t key, py::array array, bool past) {
    need_contiguous(array);
    auto* to = static_cast<char*>(array.mutable_data());
    const auto bytes = static_cast<size_t>(array.nbytes());
    py::gil_scoped_release unlocked;
    Unexpected message;
    if (!open(caller, peer, key, bytes, message)) return false;
    Device& device = caller.group.device();
    const char* from = device.bytes_of(message);
    if (past)
        copy_past_caches(to, from, bytes);
    else if (bytes)
        std::memcpy(to, from, bytes);
    device.close(message);
    return true;
}

// Into `total` numbers of `type`, from left to right: its own, if `onto`, and those of `sources`, arrays or (peer, key) of
// messages whose notes said that the rest is here.
void add_up(Caller& caller, py::array total, const py::list& sources, const std::string& type, bool onto) {
    need_contiguous(total);
    auto* to = static_cast<char*>(total.mutable_data());
    const auto bytes = static_cast<size_t>(total.nbytes());
    const Type element = type_named(type);
    const Folder folder = find_folder(fold_named("sum"), element);
    Device& device = caller.group.device();
    std::vector<const char*> from;
    std::deque<Unexpected> messages;
    if (onto) from.push_back(to);
    for (const py::handle source : sources) {
        if (py::isinstance<py::array>(source)) {
            const auto array = py::reinterpret_borrow<py::array>(source);
            need_contiguous(array);
            from.push_back(static_cast<const char*>(array.data()));
            if (static_cast<size_t>(array.nbytes()) != bytes) throw std::invalid_argument("arrays of different lengths");
        } else {
            const auto [peer, key] = source.cast<std::pair<int, uint64_t>>();
            if (!open(caller, peer, key, bytes, messages.emplace_back()))
                throw std::invalid_argument("a message that must be received");
            from.push_back(device.bytes_of(messages.back()));
        }
    }
    py::gil_scoped_release unlocked;
    if (from.size() == 1 && !onto) std::memcpy(to, from[0], bytes);
    if (from.size() > 1) fold_all(folder, size_of(element), to, from, bytes);
    for (const Unexpected& message : messages) device.close(message);
}

using Told = std::tuple<int64_t, int64_t, uint64_t, uint64_t, uint64_t>;

}  // namespace

void bind_messages(py::module_& m) {
    py::enum_<Group::Purpose>(m, "Purpose")
        .value("collective", Group::collective)
        .value("direct", Group::direct_messages)
        .value("control", Group::control);
    py::class_<Node, std::shared_ptr<Node>>(m, "Node")
        .def(py::init<int, int, size_t>(), py::arg("index"), py::arg("size"), py::arg("bytes"))
        .def("address", [](const Node& node) {
            const Address a = node.address();
            return Told{a.pid, a.fd, a.size, a.start, a.identity};
        })
        .def("connect", [](Node& node, const std::vector<Told>& told) {
            std::vector<Address> addresses;
            for (auto [pid, fd, size, start, identity] : told) addresses.push_back({pid, fd, size, start, identity});
            node.connect(addresses);
        })
        .def("leave", &Node::leave)
        .def("left", &Node::left)
        .def("dead", &Node::dead)
        .def("progress", [](Node& node) { node.device().progress(); }, py::call_guard<py::gil_scoped_release>())
        .def("await_news",
             [](Node& node, int64_t microseconds, bool sleep) {
                 return node.device().await_news(std::chrono::microseconds(microseconds), sleep || node.crowded());
             },
             py::arg("microseconds"), py::arg("sleep"), py::call_guard<py::gil_scoped_release>())
        .def("empty", &empty, py::arg("shape"), py::arg("dtype"));
    m.def("hear", &hear, py::arg("caller"));
    m.def("take", &take, py::arg("caller"), py::arg("peer"), py::arg("key"), py::arg("array"), py::arg("past") = false);
    m.def("add_up", &add_up, py::arg("caller"), py::arg("total"), py::arg("sources"), py::arg("type"), py::arg("onto"));
    m.attr("CACHED") = kCached;
    py::class_<Message>(m, "Message")
        .def(py::init<std::shared_ptr<Caller>, py::array, bool, int, Group::Purpose, uint64_t, bool, bool,
                      const std::string&, bool>(),
             py::arg("caller"), py::arg("view"), py::arg("is_receive"), py::arg("peer"), py::arg("purpose"),
             py::arg("key"), py::arg("any_key") = false, py::arg("synchronous") = false, py::arg("note") = py::bytes(),
             py::arg("quiet") = false)
        .def_property_readonly("done", &Message::done)
        .def("test", &Message::test)
        .def("cancel", &Message::cancel)
        .def_property_readonly("peer", &Message::peer)
        .def_property_readonly("key", &Message::key);
}

}  // namespace ringleader
