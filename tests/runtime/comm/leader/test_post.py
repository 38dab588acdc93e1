"""Letters, and what is made of those of ranks that have gone."""

import numpy as np
from ringleader.runtime.comm.leader.post import Letter, Post
from ringleader.runtime.comm.threads import Hub, ThreadsTransport


class Pair:
    """Two ranks in one thread. What ``at_look`` does happens while rank 0 looks who is gone."""

    def __init__(self):
        hub, self.heard, self.lost = Hub(2), [], []
        one, other = (ThreadsTransport(hub, "world", [0, 1], rank) for rank in range(2))
        self.at_look = lambda: None
        gone = one.gone

        def look():
            self.at_look()
            self.at_look = lambda: None
            return gone()

        one.gone = look
        self.post = Post(one, lambda letter: self.heard.append(letter), lambda rank: self.lost.append(rank))
        self.other = Post(other, lambda letter: None, lambda rank: None)

    def look(self):
        self.post._looked = 0.0
        self.post.progress()


def test_what_was_sent_before_the_end_counts():
    """Although it comes after the last letters have been read, and before the look at who has gone."""
    pair, payload, into = Pair(), np.arange(5.0), np.empty(5)
    done = []
    pair.post.deliver = lambda letter: pair.post.receive(letter, into, lambda: done.append(list(pair.lost)))

    def farewell():
        pair.other.send(0, Letter(7), payload)
        pair.other.transport.leave()

    pair.at_look = farewell
    pair.look()
    assert pair.lost == [1]
    assert done == [[]], "before it is told that the sender is lost"
    assert np.array_equal(into, payload)


def test_nothing_comes_from_those_who_have_gone():
    pair = Pair()
    pair.other.transport.leave()
    pair.look()
    pair.other.send(0, Letter(7))
    pair.look()
    assert pair.lost == [1]
    assert not pair.heard


def test_what_is_under_way_with_the_lost_is_given_up():
    pair, into = Pair(), np.empty(5)
    pair.other.send(0, Letter(7))
    pair.look()
    (letter,) = pair.heard
    pair.post.receive(letter._replace(nbytes=into.nbytes, tag=9), into, lambda: None)
    pair.post.send(1, Letter(8), np.ones(3))
    assert pair.post.sending
    pair.other.close()
    pair.other.transport.leave()
    pair.look()
    assert not pair.post.sending
    assert not pair.post._open
    pair.post.send(1, Letter(8), np.ones(3))
    assert not pair.post._open


def test_a_letter_is_delivered_once():
    pair = Pair()
    pair.other.send(0, Letter(7))
    pair.other._sent[0] = 0
    pair.other.send(0, Letter(7))
    pair.other.send(0, Letter(8))
    pair.look()
    assert [letter.kind for letter in pair.heard] == [7, 8]


def test_letters_come_whole():
    pair = Pair()
    letter = Letter(3, 5, 1 << 40, 1 << 41, -7, 0.5, 1)
    pair.other.send(0, letter)
    pair.look()
    assert pair.heard == [letter._replace(seq=1, sender=1)]
