// Messages between the ranks of a node, matched by context and key, each copied as rarely as possible.
//
// Between two ranks lies a ring of slots in each direction, in the sender's arena. A short message travels inside
// a slot. A longer one is announced: lies it in the sender's arena, or fits it into a spare block there, the
// receiver reads it from that place and says `finished`. Otherwise the receiver, once it wants the message, grants
// it, and the sender passes the message piece by piece through blocks that stay in the caches. Only granted
// messages use those blocks, so a receiver that does not come cannot starve others.
//
// A message may carry a note, which its receiver can read before it has anything to say about where the message goes;
// or reads it at once, out of the sender's memory.
//
// Whoever waits for anything moves everything: sends that were granted, and receives that say where their bytes
// go. Receives of programs, which fold what arrives, are served by their own thread, outside of the lock.
#pragma once

#include "arena.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace ringleader {

constexpr int kAny = -1;
constexpr size_t kInline = 192;        // bytes that travel inside a slot
constexpr size_t kSlots = 32;          // of a ring
constexpr size_t kSpare = 8 << 10;     // bytes of a spare block: messages up to here leave at once
constexpr size_t kSpares = 64;
constexpr size_t kPiece = 64 << 10;    // bytes of a block that a longer message passes through
constexpr size_t kPieces = 16;

// Not 0: this rank sleeps, and whoever sends to it must wake it.
struct alignas(kLine) Bell {
    std::atomic<uint32_t> asleep;
};

struct Span {
    char* at;
    size_t bytes;
};

enum class Kind : uint32_t { eager, announce, grant, piece, finished, released };

struct Header {
    Kind kind;
    uint32_t context;
    uint64_t key;
    uint64_t length;    // of the whole message
    uint64_t request;   // of the sender (eager, announce, finished), of the receiver (piece), both in turn (grant)
    uint64_t place;     // offset in the sender's arena, or the receiver's request (grant), or a block (released)
    uint64_t position;  // of a piece in its message; eager: does the sender wait for `finished`; announce, finished:
                        // may the sender sleep on
    uint64_t bytes;     // here, or at `place`
    uint64_t note = 0;  // bytes of a note, before what lies here
};

struct Slot {
    std::atomic<uint64_t> turn;  // number of the message that fills it, from 1 on
    Header header;
    char payload[kInline];
};

struct Ring {
    alignas(kLine) std::atomic<uint64_t> taken;  // messages that the receiver has read
    alignas(kLine) Slot slots[kSlots];
};

struct Send {
    int peer = 0;
    uint32_t context = 0;
    uint64_t key = 0;
    bool synchronous = false;  // complete only when its receive has been matched
    bool quiet = false;        // not worth waking this rank for, once it has been read
    std::string note;          // at most kInline bytes
    std::vector<Span> spans;
    bool done = false;

    size_t total = 0;
    std::atomic<size_t> passed{0};  // bytes that have left, for whoever watches progress
    uint64_t number = 0, receiver = 0;
};

// Bytes that have come for a receive. Where they are is told to `from` again once they have been read.
struct Piece {
    const char* at;
    size_t bytes, position;
    int from;
    Header reply;
};

struct Receive {
    int peer = kAny;  // becomes the sender when matched
    uint32_t context = 0;
    uint64_t key = 0;
    bool any_key = false;
    size_t total = 0;
    bool matched = false, done = false;
    bool wrong_length = false;  // then `total` is what came
    char* target = nullptr;     // where the bytes go; if null, `advance` hands them out
    std::vector<Piece> arrived;

    size_t received = 0;
    uint64_t number = 0;
    char inside[kInline];
};

// A message that came before anybody asked for it.
struct Unexpected {
    int peer;
    Header header;
    std::vector<char> payload;  // with the note before it
    bool heard = false;         // its note
    // Can its bytes be read in one piece?
    bool here() const { return header.kind == Kind::eager || header.place != Arena::kNowhere; }
};

struct Note {
    int peer;
    std::string text;
    bool here;  // can `open` have the rest?
};

class Device {
public:
    Device(Arena& arena, int index, int size);
    // Offset of the ring from this rank to `peer`, for `peer` to be told.
    size_t ring_to(int peer) const { return rings_ + static_cast<size_t>(peer) * sizeof(Ring); }
    void connect(std::vector<Neighbour*> neighbours, const std::vector<size_t>& rings_to_me);

    bool start(Send& send);  // complete already?
    void start(Receive& receive);
    // Go on as far as possible; complete? `consume(from, bytes, position)` takes the message's bytes.
    bool advance(Send& send);
    bool advance(Receive& receive);  // one with a target
    template <class Consume>
    bool advance(Receive& receive, Consume&& consume) {
        bool done;
        std::vector<Piece> pieces = collect(receive, done);
        if (pieces.empty()) return done;
        for (const Piece& piece : pieces) consume(piece.at, piece.bytes, piece.position);
        return acknowledge(receive, pieces);
    }
    void cancel(Send& send);
    void cancel(Receive& receive);
    void progress();
    // Wait until a neighbour has sent anything but that it has read what was `quiet`, at most so long; has one? What
    // another thread of this rank moves meanwhile is not seen, so `most` should be short. `sleep`: do not keep a core busy
    // for it; where ranks share cores none does.
    bool await_news(std::chrono::microseconds most, bool sleep);
    // The oldest message of this context that nobody has asked for; false if there is none.
    bool probe(uint32_t context, int& peer, uint64_t& key, size_t& length);
    // The notes of this context that have not been heard yet. Those messages that are 0 bytes long are gone then.
    std::vector<Note> hear(uint32_t context);
    // Takes a message out that came before anybody asked for it, to be read until `close`; false if its bytes are not there
    // in one piece, and must be received.
    bool open(uint32_t context, int peer, uint64_t key, Unexpected& message);
    const char* bytes_of(const Unexpected& message) const {
        const Header& header = message.header;
        if (header.kind == Kind::eager) return message.payload.data() + header.note;
        return neighbours_[static_cast<size_t>(message.peer)]->at(header.place);
    }
    void close(const Unexpected& message);
    // Nothing of these contexts [first, last) will be asked for any more.
    void forget(uint32_t first, uint32_t last);

    Neighbour& neighbour(int peer) { return *neighbours_[static_cast<size_t>(peer)]; }
    int size() const { return size_; }
    int index() const { return index_; }
    Arena& arena() { return arena_; }

private:
    struct Peer {
        Ring* out = nullptr;
        Ring* in = nullptr;
        Bell* bell = nullptr;
        uint64_t sent = 0, seen_taken = 0, read = 0;
        std::deque<std::pair<Header, std::vector<char>>> waiting;  // for room in the ring
    };

    std::vector<Piece> collect(Receive& receive, bool& done);
    bool acknowledge(Receive& receive, const std::vector<Piece>& pieces);
    void drain();
    bool news();
    void next(int peer);
    bool sleep_until(std::chrono::steady_clock::time_point end);
    Bell& bell() { return *reinterpret_cast<Bell*>(arena_.at(ring_to(size_))); }
    void post(int peer, const Header& header, const Span* spans, size_t count);
    bool place(Peer& peer, const Header& header, const Span* spans, size_t count);
    void handle(int peer, const Header& header, const char* payload);
    void pass_on();
    void take(Receive& receive, const Piece& piece);
    void finish(Receive& receive, const Piece& piece);
    void finish(const Unexpected& message);
    void match(Receive& receive, int peer, const Header& header, const char* payload);
    Receive* find_receive(int peer, const Header& header);
    bool accepts(const Receive& receive, int peer, const Header& header) const;

    Arena& arena_;
    const int index_, size_;
    size_t rings_ = 0, spares_ = 0, pieces_ = 0;
    std::mutex mutex_;
    std::vector<Peer> peers_;
    std::vector<Neighbour*> neighbours_;
    std::vector<size_t> free_spares_, free_pieces_;
    std::deque<Receive*> posted_;
    std::deque<Unexpected> unexpected_;
    std::unordered_map<uint64_t, Send*> sends_;
    std::deque<Send*> passing_;  // granted, and not passed on in full
    std::unordered_map<uint64_t, size_t> lent_;  // spare block of an announced message
    std::unordered_map<uint64_t, Receive*> granted_;
    uint64_t numbers_ = 0;
};

}  // namespace ringleader
