// Point-to-point messages of the stress test. All ranks draw all letters, so each knows what it must get.
#pragma once

#include "world.h"

namespace stress {

constexpr uint32_t kScrap = 1;  // a context that no group uses

struct Letter {
    int from, to;
    uint64_t key;
    size_t bytes;
    bool is_shared, synchronous;
    size_t parts;
};

inline unsigned char byte_of(const Letter& letter, size_t j) {
    return static_cast<unsigned char>(j * 7 + j / 256 + letter.bytes + static_cast<size_t>(letter.from) * 31);
}

inline void check_bytes(Rank& me, const Letter& letter, const char* at) {
    for (size_t j = 0; j < letter.bytes; ++j)
        if (static_cast<unsigned char>(at[j]) != byte_of(letter, j))
            fail(me, "byte " + std::to_string(j) + " of a message is wrong");
}

inline std::vector<Letter> draw_letters(Rank& me) {
    static const std::vector<size_t> kSizes{0, 1, 15, 191, 192, 193, 3000, kSpare - 1, kSpare, kSpare + 1,
                                            kPiece, kPiece + 1, 5 * kPiece / 2 + 3, 20 * kPiece + 1};
    static const std::vector<size_t> kSmallSizes{0, 1, 15, 192};
    const bool many = below(me.common, 3) == 0;  // more than the rings hold
    std::vector<Letter> letters(many ? 60 * static_cast<size_t>(me.n) : 1 + below(me.common, 12));
    for (Letter& letter : letters) {
        letter.from = static_cast<int>(below(me.common, static_cast<size_t>(me.n)));
        letter.to = static_cast<int>(below(me.common, static_cast<size_t>(me.n)));
        letter.key = below(me.common, 3);
        letter.bytes = one_of(me.common, many ? kSmallSizes : kSizes);
        letter.is_shared = below(me.common, 2);
        letter.synchronous = below(me.common, 3) == 0;
        letter.parts = 1 + below(me.common, 3);
    }
    return letters;
}

// A message with the array that it is sent from.
struct Outgoing {
    Outgoing(Rank& me, uint32_t context, const Letter& letter, std::string note = "")
        : array(me, letter.bytes, letter.is_shared) {
        send.note = std::move(note);
        for (size_t j = 0; j < letter.bytes; ++j) array.at()[j] = static_cast<char>(byte_of(letter, j));
        send.peer = letter.to;
        send.context = context;
        send.key = letter.key;
        send.synchronous = letter.synchronous;
        send.quiet = letter.parts == 1;
        for (size_t p = 0; p < letter.parts; ++p) {
            const size_t first = letter.bytes * p / letter.parts, last = letter.bytes * (p + 1) / letter.parts;
            send.spans.push_back({array.at() + first, last - first});
        }
        me.device().start(send);
    }
    Array array;
    Send send;
};

// Receives `bytes` bytes; advances by `turn`.
struct Incoming {
    Incoming(Rank& me, uint32_t context, int peer, uint64_t key, bool any_key, size_t bytes)
        : device(me.device()), array(me, bytes, false) {
        receive.peer = peer;
        receive.context = context;
        receive.key = key;
        receive.any_key = any_key;
        receive.total = bytes;
        device.start(receive);
    }
    bool turn() {
        return device.advance(receive, [this](const char* from, size_t bytes, size_t position) {
            std::memcpy(array.at() + position, from, bytes);
        });
    }
    Device& device;
    Array array;
    Receive receive;
};

// Every letter is preceded by its number in the list, as a message with the same key; whoever gets it takes that
// from anyone with any key, and then knows what follows.
inline void exchange_letters(Rank& me) {
    const uint32_t context = me.next_context++;  // else who is faster would mix in letters of the next round
    const std::vector<Letter> letters = draw_letters(me);
    std::vector<std::unique_ptr<Outgoing>> outgoing;
    std::vector<std::unique_ptr<uint64_t>> numbers;
    std::vector<std::unique_ptr<Send>> heads;
    size_t awaited = 0, next_of_mine = 0;
    std::unique_ptr<Incoming> head, body;
    size_t number = 0;
    Watch watch(me);
    Pause pause(watch);
    for (const Letter& letter : letters) awaited += letter.to == me.rank;
    while (awaited || next_of_mine < letters.size() || !outgoing.empty() || !heads.empty()) {
        if (next_of_mine < letters.size()) {
            const size_t i = next_of_mine++;
            if (letters[i].from == me.rank) {
                numbers.push_back(std::make_unique<uint64_t>(i));
                auto send = std::make_unique<Send>();
                send->peer = letters[i].to;
                send->context = context;
                send->key = letters[i].key;
                send->spans = {{reinterpret_cast<char*>(numbers.back().get()), sizeof(uint64_t)}};
                me.device().start(*send);
                heads.push_back(std::move(send));
                outgoing.push_back(std::make_unique<Outgoing>(me, context, letters[i]));
            }
        }
        auto sent = [&](const auto& message) { return me.device().advance(message->send); };
        outgoing.erase(std::remove_if(outgoing.begin(), outgoing.end(), sent), outgoing.end());
        auto told = [&](const auto& send) { return me.device().advance(*send); };
        heads.erase(std::remove_if(heads.begin(), heads.end(), told), heads.end());
        if (awaited && !head && !body) head = std::make_unique<Incoming>(me, context, kAny, 0, true, sizeof(uint64_t));
        if (head && head->turn()) {
            number = *head->array.as<uint64_t>();
            if (number >= letters.size() || letters[number].to != me.rank || head->receive.wrong_length)
                fail(me, "a message went astray");
            const Letter& letter = letters[number];
            if (head->receive.peer != letter.from || head->receive.key != letter.key) fail(me, "wrong sender or key");
            body = std::make_unique<Incoming>(me, context, letter.from, letter.key, false, letter.bytes);
            head.reset();
            pause.reset();
        }
        if (body && body->turn()) {
            check_bytes(me, letters[number], body->array.at());
            body.reset();
            --awaited;
            pause.reset();
        }
        pause.turn(kAny);
    }
}

// Every letter carries its number in a note of some length. Whoever hears it takes the letter at once where that can be,
// and else receives it; ranks with nothing to do wait for news, perhaps asleep.
inline void exchange_notes(Rank& me) {
    const uint32_t context = me.next_context++;
    std::vector<Letter> letters = draw_letters(me);
    std::vector<std::unique_ptr<Outgoing>> outgoing;
    std::vector<std::pair<size_t, std::unique_ptr<Incoming>>> incoming;
    size_t unheard = 0, next_of_mine = 0;
    Watch watch(me);
    Pause pause(watch);
    for (size_t i = 0; i < letters.size(); ++i) {
        letters[i].key = i;
        unheard += letters[i].to == me.rank;
    }
    while (unheard || !incoming.empty() || next_of_mine < letters.size() || !outgoing.empty()) {
        if (next_of_mine < letters.size()) {
            const size_t i = next_of_mine++;
            std::string note(sizeof(size_t) + i % (kInline - sizeof(size_t)), 'x');
            std::memcpy(note.data(), &i, sizeof i);
            if (letters[i].from == me.rank) outgoing.push_back(std::make_unique<Outgoing>(me, context, letters[i], note));
        }
        auto sent = [&](const auto& message) { return me.device().advance(message->send); };
        outgoing.erase(std::remove_if(outgoing.begin(), outgoing.end(), sent), outgoing.end());
        bool moved = false;
        std::deque<Unexpected> opened;
        for (const auto& [peer, note, here] : me.device().hear(context)) {
            size_t i;
            std::memcpy(&i, note.data(), sizeof i);
            if (i >= letters.size() || letters[i].to != me.rank || letters[i].from != peer ||
                note.size() != sizeof i + i % (kInline - sizeof i))
                fail(me, "a note went astray");
            const Letter& letter = letters[i];
            --unheard;
            moved = true;
            Unexpected message;
            if (me.device().open(context, peer, letter.key, message) != here)
                fail(me, "a letter is not where it is said to be");
            if (here)
                opened.push_back(std::move(message));
            else if (letter.bytes)
                incoming.emplace_back(i, std::make_unique<Incoming>(me, context, peer, letter.key, false, letter.bytes));
        }
        for (const Unexpected& message : opened) {
            const Letter& letter = letters[message.header.key];
            if (message.header.length != letter.bytes) fail(me, "a letter has another length");
            check_bytes(me, letter, me.device().bytes_of(message));
            me.device().close(message);
        }
        for (auto entry = incoming.begin(); entry != incoming.end();) {
            const bool done = entry->second->turn();
            if (done) check_bytes(me, letters[entry->first], entry->second->array.at());
            entry = done ? incoming.erase(entry) : entry + 1;
            moved = moved || done;
        }
        if (moved) {
            pause.reset();
        } else {
            me.device().await_news(std::chrono::microseconds(below(me.own, 200)), below(me.own, 2));
            pause.turn(kAny);
        }
    }
}

// Messages that both sides give up at some time of their own: before they match, or halfway. Some are not as long
// as their receives.
inline void cancel_messages(Rank& me) {
    const size_t n = static_cast<size_t>(me.n), shift = below(me.common, n), rank = static_cast<size_t>(me.rank);
    Letter letter{me.rank, static_cast<int>((rank + shift) % n), me.common() >> 1, 0, false, true, 1};
    letter.bytes = one_of<size_t>(me.common, {1, 500, 20 * kPiece});
    const size_t expected = letter.bytes + below(me.common, 2);
    Incoming incoming(me, kScrap, static_cast<int>((rank + n - shift) % n), letter.key, false, expected);
    Outgoing outgoing(me, kScrap, letter);
    for (size_t turns = below(me.own, 200); turns; --turns) {
        me.device().advance(outgoing.send);
        if (incoming.turn() && expected != letter.bytes && !incoming.receive.wrong_length)
            fail(me, "a message of another length was taken");
    }
    me.device().cancel(outgoing.send);
    me.device().cancel(incoming.receive);
}

}  // namespace stress
