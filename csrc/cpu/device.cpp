#include "device.h"
#include "wait.h"

#include <algorithm>

namespace ringleader {

Device::Device(Arena& arena, int index, int size) : arena_(arena), index_(index), size_(size), peers_(size) {
    const size_t bytes = static_cast<size_t>(size) * sizeof(Ring) + sizeof(Bell);
    rings_ = arena.allocate(bytes);
    std::memset(arena.at(rings_), 0, bytes);
    spares_ = arena.allocate(kSpares * kSpare);
    pieces_ = arena.allocate(kPieces * kPiece);
    for (size_t i = kSpares; i-- > 0;) free_spares_.push_back(spares_ + i * kSpare);
    for (size_t i = kPieces; i-- > 0;) free_pieces_.push_back(pieces_ + i * kPiece);
}

void Device::connect(std::vector<Neighbour*> neighbours, const std::vector<size_t>& rings_to_me) {
    neighbours_ = std::move(neighbours);
    for (int p = 0; p < size_; ++p) {
        peers_[p].out = reinterpret_cast<Ring*>(arena_.at(ring_to(p)));
        peers_[p].in = reinterpret_cast<Ring*>(neighbours_[p]->at(rings_to_me[p]));
        peers_[p].bell = reinterpret_cast<Bell*>(peers_[p].in + (size_ - index_));  // behind all of its rings
    }
}

// Copies bytes [from, from + bytes) of what a send consists of.
static void gather(char* to, const std::vector<Span>& spans, size_t from, size_t bytes) {
    for (const Span& span : spans) {
        if (from >= span.bytes) {
            from -= span.bytes;
            continue;
        }
        const size_t part = std::min(span.bytes - from, bytes);
        std::memcpy(to, span.at + from, part);
        to += part;
        bytes -= part;
        from = 0;
        if (!bytes) return;
    }
}

// Rings

static bool is_quiet(const Header& header) { return header.kind == Kind::finished && header.position; }

bool Device::place(Peer& peer, const Header& header, const Span* spans, size_t count) {
    if (peer.sent - peer.seen_taken == kSlots) {
        peer.seen_taken = peer.out->taken.load(std::memory_order_acquire);
        if (peer.sent - peer.seen_taken == kSlots) return false;
    }
    Slot& slot = peer.out->slots[peer.sent % kSlots];
    slot.header = header;
    char* to = slot.payload;
    for (size_t i = 0; i < count; ++i) {
        if (spans[i].bytes) std::memcpy(to, spans[i].at, spans[i].bytes);  // nothing may lie nowhere
        to += spans[i].bytes;
    }
    // Each looks only after it has shown what it does, so one of them sees the other: this rank that the peer sleeps, or
    // the peer the message.
    slot.turn.store(++peer.sent, std::memory_order_seq_cst);
    if (is_quiet(header)) return true;
    if (peer.bell->asleep.load(std::memory_order_seq_cst) && peer.bell->asleep.exchange(0)) wake(peer.bell->asleep);
    return true;
}

void Device::post(int to, const Header& header, const Span* spans = nullptr, size_t count = 0) {
    Peer& peer = peers_[to];
    if (peer.waiting.empty() && place(peer, header, spans, count)) return;
    std::vector<char> payload;
    for (size_t i = 0; i < count; ++i) payload.insert(payload.end(), spans[i].at, spans[i].at + spans[i].bytes);
    peer.waiting.emplace_back(header, std::move(payload));
}

void Device::drain() {
    for (int p = 0; p < size_; ++p) {
        Peer& peer = peers_[p];
        while (!peer.waiting.empty()) {
            auto& [header, payload] = peer.waiting.front();
            Span span{payload.data(), payload.size()};
            if (!place(peer, header, &span, 1)) break;
            peer.waiting.pop_front();
        }
        while (peer.in->slots[peer.read % kSlots].turn.load(std::memory_order_acquire) == peer.read + 1) next(p);
    }
    pass_on();
}

void Device::next(int p) {
    Peer& peer = peers_[p];
    const Slot& slot = peer.in->slots[peer.read % kSlots];
    handle(p, slot.header, slot.payload);
    peer.in->taken.store(++peer.read, std::memory_order_release);
}

void Device::progress() {
    std::lock_guard lock(mutex_);
    drain();
}

bool Device::news() {
    std::lock_guard lock(mutex_);
    for (int p = 0; p < size_; ++p) {
        const Peer& peer = peers_[p];
        for (;;) {
            const Slot& slot = peer.in->slots[peer.read % kSlots];
            if (slot.turn.load(std::memory_order_seq_cst) != peer.read + 1) break;
            if (!is_quiet(slot.header)) return true;
            next(p);
        }
    }
    return false;
}

bool Device::await_news(std::chrono::microseconds most, bool sleep) {
    constexpr int kLooks = 16;  // between two looks at the clock
    constexpr int kYields = 64; // before a rank that shares its core sleeps: who has news may run now
    const int spins = spins_before_yield.load(std::memory_order_relaxed);
    const auto end = std::chrono::steady_clock::now() + most;
    for (int turn = 1; !news(); ++turn) {
        if (turn < spins) {
            relax();
        } else if (!sleep || turn < spins + kYields) {
            sched_yield();
        } else {
            return sleep_until(end);
        }
        if (turn % kLooks == 0 && std::chrono::steady_clock::now() > end) return news();
    }
    return true;
}

bool Device::sleep_until(std::chrono::steady_clock::time_point end) {
    {
        std::lock_guard lock(mutex_);
        for (const Peer& peer : peers_)
            if (!peer.waiting.empty()) return sched_yield(), false;  // for room, which nobody announces
    }
    std::atomic<uint32_t>& asleep = bell().asleep;
    asleep.store(1, std::memory_order_seq_cst);
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(end - std::chrono::steady_clock::now());
    if (!news() && left.count() > 0) wait_while(asleep, 1, left);
    asleep.store(0, std::memory_order_relaxed);
    return news();
}

// What comes in

void Device::handle(int peer, const Header& header, const char* payload) {
    switch (header.kind) {
        case Kind::eager:
        case Kind::announce:
            if (Receive* receive = find_receive(peer, header)) {
                posted_.erase(std::find(posted_.begin(), posted_.end(), receive));
                match(*receive, peer, header, payload);
            } else {
                size_t bytes = header.note + (header.kind == Kind::eager ? header.bytes : 0);
                unexpected_.push_back({peer, header, {payload, payload + bytes}});
            }
            break;
        case Kind::grant:
            if (auto send = sends_.find(header.request); send != sends_.end()) {
                send->second->receiver = header.place;
                passing_.push_back(send->second);
            }
            break;
        case Kind::piece: {
            Header reply{Kind::released, 0, 0, 0, 0, header.place, 0, 0};
            if (auto entry = granted_.find(header.request); entry != granted_.end())
                take(*entry->second, {neighbours_[peer]->at(header.place), header.bytes, header.position, peer, reply});
            else
                post(peer, reply);  // its receive was cancelled
            break;
        }
        case Kind::finished:
            if (auto block = lent_.find(header.request); block != lent_.end()) {
                free_spares_.push_back(block->second);
                lent_.erase(block);
            }
            if (auto send = sends_.find(header.request); send != sends_.end()) {
                send->second->done = true;
                sends_.erase(send);
            }
            break;
        case Kind::released:
            free_pieces_.push_back(header.place);
            break;
    }
}

bool Device::accepts(const Receive& receive, int peer, const Header& header) const {
    return receive.context == header.context && (receive.peer == kAny || receive.peer == peer) &&
           (receive.any_key || receive.key == header.key);
}

Receive* Device::find_receive(int peer, const Header& header) {
    for (Receive* receive : posted_)
        if (accepts(*receive, peer, header)) return receive;
    return nullptr;
}

static Header reply_to(const Header& header) {
    const uint64_t quiet = header.kind == Kind::announce ? header.position : 0;
    return {Kind::finished, 0, 0, 0, header.request, 0, quiet, 0};
}

void Device::match(Receive& receive, int peer, const Header& header, const char* payload) {
    receive.matched = true;
    receive.peer = peer;
    receive.key = header.key;
    const Header finished = reply_to(header);
    const bool silent = header.kind == Kind::eager && !header.position;
    if (header.length != receive.total) {
        receive.wrong_length = receive.done = true;
        receive.total = header.length;
        if (!silent) post(peer, finished);
    } else if (header.kind == Kind::eager) {
        if (header.bytes) std::memcpy(receive.inside, payload + header.note, header.bytes);
        take(receive, {receive.inside, header.bytes, 0, silent ? kAny : peer, finished});
    } else if (header.place != Arena::kNowhere) {
        take(receive, {neighbours_[peer]->at(header.place), header.length, 0, peer, finished});
    } else {
        receive.number = ++numbers_;
        granted_[receive.number] = &receive;
        post(peer, {Kind::grant, 0, 0, 0, header.request, receive.number, 0, 0});
    }
}

void Device::take(Receive& receive, const Piece& piece) {
    if (!receive.target) return receive.arrived.push_back(piece);
    std::memcpy(receive.target + piece.position, piece.at, piece.bytes);
    finish(receive, piece);
}

void Device::finish(Receive& receive, const Piece& piece) {
    if (piece.from != kAny) post(piece.from, piece.reply);
    receive.received += piece.bytes;
    if (receive.received != receive.total) return;
    receive.done = true;
    granted_.erase(receive.number);
}

// Requests

bool Device::start(Send& send) {
    std::lock_guard lock(mutex_);
    for (const Span& span : send.spans) send.total += span.bytes;
    send.number = ++numbers_;
    Header header{Kind::announce, send.context, send.key, send.total, send.number, Arena::kNowhere, send.quiet, 0};
    std::vector<Span> inside;  // the slot
    header.note = send.note.size();
    if (header.note) inside.push_back({send.note.data(), header.note});
    if (header.note + send.total <= kInline) {
        header.kind = Kind::eager;
        header.bytes = send.total;
        header.position = send.synchronous;
        if (send.synchronous) sends_[send.number] = &send;
        inside.insert(inside.end(), send.spans.begin(), send.spans.end());
        post(send.peer, header, inside.data(), inside.size());
        return send.done = !send.synchronous;
    }
    size_t there = send.spans.size() == 1 ? arena_.find(send.spans[0].at, send.total) : Arena::kNowhere;
    if (there != Arena::kNowhere) {
        header.place = there;
    } else if (send.total <= kSpare && !free_spares_.empty()) {
        header.place = free_spares_.back();
        free_spares_.pop_back();
        lent_[send.number] = header.place;
        gather(arena_.at(header.place), send.spans, 0, send.total);
        send.done = !send.synchronous;
    }
    if (!send.done) sends_[send.number] = &send;
    post(send.peer, header, inside.data(), inside.size());
    return send.done;
}

bool Device::advance(Send& send) {
    std::lock_guard lock(mutex_);
    drain();
    return send.done;
}

bool Device::advance(Receive& receive) {
    std::lock_guard lock(mutex_);
    drain();
    return receive.done;
}

// Granted sends go on, one piece of each in turn, as long as there are blocks.
void Device::pass_on() {
    while (!passing_.empty() && !free_pieces_.empty()) {
        Send& send = *passing_.front();
        passing_.pop_front();
        const size_t block = free_pieces_.back(), bytes = std::min(kPiece, send.total - send.passed);
        free_pieces_.pop_back();
        gather(arena_.at(block), send.spans, send.passed, bytes);
        post(send.peer, {Kind::piece, 0, 0, send.total, send.receiver, block, send.passed, bytes});
        send.passed += bytes;
        if (send.passed < send.total) {
            passing_.push_back(&send);
        } else {
            send.done = true;
            sends_.erase(send.number);
        }
    }
}

void Device::start(Receive& receive) {
    std::lock_guard lock(mutex_);
    for (auto message = unexpected_.begin(); message != unexpected_.end(); ++message) {
        if (!accepts(receive, message->peer, message->header)) continue;
        match(receive, message->peer, message->header, message->payload.data());
        unexpected_.erase(message);
        return;
    }
    posted_.push_back(&receive);
}

std::vector<Piece> Device::collect(Receive& receive, bool& done) {
    std::lock_guard lock(mutex_);
    drain();
    done = receive.done;  // another thread of this rank may set it as soon as the lock is gone
    return std::exchange(receive.arrived, {});
}

bool Device::acknowledge(Receive& receive, const std::vector<Piece>& pieces) {
    std::lock_guard lock(mutex_);
    for (const Piece& piece : pieces) finish(receive, piece);
    return receive.done;
}

void Device::cancel(Send& send) {
    std::lock_guard lock(mutex_);
    sends_.erase(send.number);
    passing_.erase(std::remove(passing_.begin(), passing_.end(), &send), passing_.end());
}

void Device::cancel(Receive& receive) {
    std::lock_guard lock(mutex_);
    posted_.erase(std::remove(posted_.begin(), posted_.end(), &receive), posted_.end());
    granted_.erase(receive.number);
    for (const Piece& piece : receive.arrived)
        if (piece.from != kAny) post(piece.from, piece.reply);
    receive.arrived.clear();
}

bool Device::probe(uint32_t context, int& peer, uint64_t& key, size_t& length) {
    std::lock_guard lock(mutex_);
    drain();
    for (const Unexpected& message : unexpected_) {
        if (message.header.context != context) continue;
        peer = message.peer;
        key = message.header.key;
        length = message.header.length;
        return true;
    }
    return false;
}

std::vector<Note> Device::hear(uint32_t context) {
    std::vector<Note> notes;
    std::lock_guard lock(mutex_);
    drain();
    for (auto message = unexpected_.begin(); message != unexpected_.end();) {
        const Header& header = message->header;
        if (message->heard || header.context != context || !header.note) {
            ++message;
            continue;
        }
        message->heard = true;
        const std::string text(message->payload.data(), header.note);
        notes.push_back({message->peer, text, header.length && message->here()});
        if (header.length) {
            ++message;
        } else {
            finish(*message);
            message = unexpected_.erase(message);
        }
    }
    return notes;
}

bool Device::open(uint32_t context, int peer, uint64_t key, Unexpected& message) {
    std::lock_guard lock(mutex_);
    for (auto found = unexpected_.begin(); found != unexpected_.end(); ++found) {
        const Header& header = found->header;
        if (found->peer != peer || header.context != context || header.key != key) continue;
        if (!found->here()) return false;
        message = std::move(*found);
        unexpected_.erase(found);
        return true;
    }
    return false;
}

void Device::close(const Unexpected& message) {
    std::lock_guard lock(mutex_);
    finish(message);
}

void Device::finish(const Unexpected& message) {
    const Header& header = message.header;
    if (header.kind == Kind::eager && !header.position) return;  // its sender does not wait
    post(message.peer, reply_to(header));
}

void Device::forget(uint32_t first, uint32_t last) {
    std::lock_guard lock(mutex_);
    drain();
    auto old = [&](const Unexpected& message) {
        return message.header.context >= first && message.header.context < last;
    };
    unexpected_.erase(std::remove_if(unexpected_.begin(), unexpected_.end(), old), unexpected_.end());
}

}  // namespace ringleader
