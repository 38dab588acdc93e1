"""In which order letters go, and what stays where it is until it is wanted: at a desk, without a transport."""

import numpy as np
import pytest
from helpers.leader import server_at_desk, settings, worker_at_desk
from ringleader.runtime.comm.leader import server as server_module
from ringleader.runtime.comm.leader import worker as worker_module
from ringleader.runtime.comm.leader.kinds import Kind
from ringleader.runtime.comm.leader.post import Letter

SIZE = 100
TENSORS = {name: np.zeros(SIZE) for name in "abcdef"}
NBYTES = 8 * SIZE


def letters(desk):
    """Kind and number of the tensor of what has been sent since."""
    return [(Kind(sent.letter.kind), sent.letter.part) for sent in desk.take_sent()]


def answer(worker, desk, part, clock=0):
    """The server has taken this worker's push of ``part``."""
    (request,) = [
        r for r in worker._under_way.values()
        if (r.letter.kind, r.letter.part, r.letter.clock) == (Kind.PUSH, part, clock)
    ]  # fmt: skip
    worker.answer(Letter(Kind.DONE, part, token=request.letter.token, sender=worker.servers[0]))


def a_worker(monkeypatch, credit, mode="bsp"):
    monkeypatch.setattr(worker_module, "CREDIT", credit * NBYTES)
    worker, desk = worker_at_desk(settings(2, mode), TENSORS)
    desk.take_sent()
    return worker, desk


def test_urgent_pushes_overtake(monkeypatch):
    """Two are on their way, the others wait: the most urgent goes as soon as there is room."""
    worker, desk = a_worker(monkeypatch, 2)
    for key, priority in zip("abcdef", (9, 8, 7, 3, 5, -1)):
        worker.push(key, TENSORS[key], priority, None)
    worker.clock()
    assert letters(desk) == [(Kind.PUSH, 0), (Kind.PUSH, 1)]
    order = []
    for part in (0, 1, 5, 3, 4, 2):
        answer(worker, desk, part)
        order += letters(desk)
    assert order == [(Kind.PUSH, 5), (Kind.PUSH, 3), (Kind.PUSH, 4), (Kind.PUSH, 2)]


@pytest.mark.parametrize(("mode", "pushed", "told"), [
    ("bsp", "abcdef", False), ("bsp", "abcdf", True), ("bsp", "", True), ("ssp", "abcdef", True), ("asp", "abcdef", True),
])  # fmt: skip
def test_servers_that_know_are_not_told(monkeypatch, mode, pushed, told):
    """In mode "bsp", that an iteration is over: it takes one gradient of each tensor."""
    worker, desk = a_worker(monkeypatch, 20, mode)
    for iteration in (1, 2):
        for key in pushed:
            worker.push(key, TENSORS[key], 0, None)
        worker.clock()
        clocks = [sent.letter.clock for sent in desk.take_sent() if sent.letter.kind == Kind.CLOCK]
        assert clocks == [iteration] * told


def test_the_next_iteration_goes_after_this_one(monkeypatch):
    worker, desk = a_worker(monkeypatch, 1)
    worker.push("a", TENSORS["a"], 5, None)
    worker.push("b", TENSORS["b"], 6, None)
    worker.clock()
    worker.push("c", TENSORS["c"], -3, None)
    worker.pull("d", np.empty(SIZE), -9)
    assert letters(desk) == [(Kind.PUSH, 0)]
    answer(worker, desk, 0)
    assert letters(desk) == [(Kind.PUSH, 1), (Kind.CLOCK, -1), (Kind.PULL, 3)]  # which needs no credit
    answer(worker, desk, 1)
    assert letters(desk) == [(Kind.PUSH, 2)]


def test_a_tensors_letters_stay_in_order(monkeypatch):
    """However urgent: pulls see the pushes before them, and no others."""
    worker, desk = a_worker(monkeypatch, 1, "asp")
    worker.push("a", TENSORS["a"], 0, None)
    worker.push("b", TENSORS["b"], 9, None)
    worker.push("b", TENSORS["b"], 1, None)
    worker.pull("b", np.empty(SIZE), 0)
    worker.push("b", TENSORS["b"], -1, None)
    order = desk.take_sent()
    for _ in range(4):
        last = next(sent for sent in reversed(order) if sent.letter.kind == Kind.PUSH)
        worker.answer(Letter(Kind.DONE, token=last.letter.token, sender=2))
        order += desk.take_sent()
    tokens = [sent.letter.token for sent in order]
    assert len(tokens) == 5
    assert tokens == sorted(tokens)


def test_meetings_do_not_wait_for_pushes(monkeypatch):
    """Those who come to it may be the ones whose gradients the servers want first."""
    worker, desk = a_worker(monkeypatch, 1)
    worker.push("a", TENSORS["a"], 0, None)
    worker.push("b", TENSORS["b"], -5, None)
    worker.meet(1, np.zeros(3))
    worker.state(worker.parts["a"][0])
    assert letters(desk) == [(Kind.PUSH, 0), (Kind.MEET, -1), (Kind.STATE, 0)]


def test_one_that_is_larger_than_all_credit_goes_alone(monkeypatch):
    worker, desk = a_worker(monkeypatch, 0)
    worker.push("a", TENSORS["a"], 0, None)
    worker.push("b", TENSORS["b"], 0, None)
    assert letters(desk) == [(Kind.PUSH, 0)]
    answer(worker, desk, 0)
    assert letters(desk) == [(Kind.PUSH, 1)]


def test_what_is_taken_makes_room_once(monkeypatch):
    """A push_pull need not wait for its values to let the next one go."""
    monkeypatch.setattr(worker_module, "FREE", 0)
    worker, desk = a_worker(monkeypatch, 2)
    requests = {key: worker.push(key, TENSORS[key], 0, None, np.empty(SIZE))[0] for key in "abcd"}

    def answer(key, kind, nbytes):
        letter = requests[key].letter._replace(kind=kind, nbytes=nbytes, sender=worker.servers[0])
        worker.answer(letter)
        return letters(desk)

    assert letters(desk) == [(Kind.PUSH_PULL, 0), (Kind.PUSH_PULL, 1)]
    assert answer("a", Kind.TAKEN, -1) == [(Kind.PUSH_PULL, 2)]
    assert not requests["a"].done
    assert answer("a", Kind.DONE, NBYTES) == []
    desk.comes(desk.wanted[0], np.full(SIZE, 7.0))
    assert letters(desk) == [], "there was room for one"
    assert requests["a"].done
    assert np.all(requests["a"].out == 7)
    answer("b", Kind.DONE, NBYTES)  # without a word before
    desk.comes(desk.wanted[0], np.full(SIZE, 8.0))
    assert letters(desk) == [(Kind.PUSH_PULL, 3)]


def test_the_first_push_pulls_need_no_credit(monkeypatch):
    """Nobody acknowledges those before their values come, so others are not held up by them."""
    monkeypatch.setattr(worker_module, "FREE", 2 * NBYTES)
    worker, desk = a_worker(monkeypatch, 1)
    for key in "abcd":
        worker.push(key, TENSORS[key], 0, None, np.empty(SIZE))
    sent = desk.take_sent()
    assert [s.letter.free for s in sent] == [True, True, False], "the fourth waits for the third"
    worker.answer(sent[2].letter._replace(kind=Kind.TAKEN, nbytes=-1, sender=worker.servers[0]))
    (fourth,) = desk.take_sent()
    assert not fourth.letter.free
    worker.answer(sent[0].letter._replace(kind=Kind.DONE, nbytes=NBYTES, sender=worker.servers[0]))
    desk.comes(desk.wanted[0], np.ones(SIZE))
    worker.push("e", TENSORS["e"], 0, None, np.empty(SIZE))
    assert [s.letter.free for s in desk.take_sent()] == [True], "values have come"


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_push_pull_is_acknowledged_while_its_values_wait(there, free):
    server, desk = server_at_desk(settings(2), TENSORS)
    desk.there = lambda letter: np.ones(SIZE)
    for sender in (0, 1):
        letter = Letter(Kind.PUSH_PULL, 0, 0, 10 + sender, nbytes=NBYTES, sender=sender, value=float("nan"))
        server.handle(letter._replace(free=free, readable=there))
        desk.settle()
        if not there:
            desk.comes(desk.wanted[0], np.ones(SIZE))
        sent = [(s.peer, s.letter.kind, s.letter.token) for s in desk.take_sent()]
        if sender == 0:
            assert sent == ([] if free else [(0, Kind.TAKEN, 10)])
        else:
            assert sorted(sent) == [(0, Kind.DONE, 10), (1, Kind.DONE, 11)], "the values say it"
    assert np.all(server.stored[0].slot.w == 2)


def pull(server, part, priority, token, sender=0, clock=0):
    server.handle(Letter(Kind.PULL, part, clock, token, priority, sender=sender))


def test_urgent_answers_overtake(monkeypatch):
    monkeypatch.setattr(server_module, "CREDIT", 2 * NBYTES)
    server, desk = server_at_desk(settings(2), TENSORS)
    for part, priority in enumerate((9, 8, 7, 3, 5)):
        pull(server, part, priority, token=100 + part)
    pull(server, 0, 0, token=200, sender=1)  # another worker has a credit of its own
    going = desk.take_sent()
    assert [(sent.peer, sent.letter.part) for sent in going] == [(0, 0), (0, 1), (1, 0)]
    pull(server, 5, -1, token=105)
    order = []
    while going:
        going.pop(0).done()
        going += (new := desk.take_sent())
        order += [sent.letter.part for sent in new]
    assert order == [5, 3, 4, 2]


def test_gradients_of_later_iterations_stay_with_their_worker():
    """The server has memory for one of each worker, however far one is ahead."""
    server, desk = server_at_desk(settings(2), TENSORS)
    for iteration in range(5):
        server.handle(
            Letter(Kind.PUSH, 0, iteration, 10 + iteration, nbytes=NBYTES, sender=1, value=float("nan"))
        )
        server.handle(Letter(Kind.CLOCK, clock=iteration + 1, sender=1))
    desk.settle()
    for iteration in range(5):
        (wanted,) = desk.wanted
        assert (wanted.letter.sender, wanted.letter.clock) == (1, iteration)
        desk.comes(wanted, np.ones(SIZE))
        assert not desk.wanted, "one of a later iteration"
        server.handle(Letter(Kind.CLOCK, clock=iteration + 1, sender=0))
        desk.settle()
    assert np.all(server.stored[0].slot.w == 5)


def test_values_on_their_way_stay_as_they_were():
    """Copied only if an update comes before they have gone, and once for all who read them."""
    server, desk = server_at_desk(settings(1, "asp"), TENSORS)
    stored = server.stored[0]

    def push(token):
        server.handle(Letter(Kind.PUSH, 0, 0, token, nbytes=NBYTES, sender=0, value=float("nan")))
        desk.settle()
        desk.comes(desk.wanted[0], np.ones(SIZE))

    push(1)
    pull(server, 0, 0, token=2)
    pull(server, 0, 0, token=3)
    first, second = (sent for sent in desk.take_sent() if sent.payload is not None)
    assert first.payload is second.payload is stored.slot.w
    push(4)
    assert stored.slot.w is not first.payload
    assert np.all(first.payload == 1)
    assert np.all(stored.slot.w == 2)
    kept = stored.slot.w
    pull(server, 0, 0, token=5)
    (third,) = (sent for sent in desk.take_sent() if sent.payload is not None)
    first.done()
    second.done()
    push(6)
    assert np.all(third.payload == 2), "given back by readers of an older copy"
    third.done()
    fresh = stored.slot.w
    assert fresh is not kept
    push(7)
    assert stored.slot.w is fresh, "copied for nobody"
    assert np.all(fresh == 4)


def test_loading_does_not_change_values_on_their_way():
    server, desk = server_at_desk(settings(1, "asp"), TENSORS)
    pull(server, 0, 0, token=1)
    (sent,) = desk.take_sent()
    server.stored[0].load({"w": np.full(SIZE, 9.0)})
    assert np.all(sent.payload == 0)
    assert np.all(server.stored[0].slot.w == 9)


def test_letters_of_the_dropped_change_nothing():
    server, desk = server_at_desk(settings(2, "asp"), TENSORS)
    server.drop(1)
    before = server.clocks.told.copy()
    late = [
        Letter(Kind.PUSH, 0, 0, 1, nbytes=NBYTES, sender=1), Letter(Kind.CLOCK, clock=7, sender=1),
        Letter(Kind.PULL, 0, 0, 2, sender=1), Letter(Kind.MEET, clock=1, nbytes=0, sender=1),
        Letter(Kind.CLOSE, token=3, sender=1),
    ]  # fmt: skip
    for letter in late:
        server.handle(letter)
    assert desk.discarded == late
    assert server.clocks.told == before
    assert not desk.wanted
    assert not desk.sent


def test_all_workers_go_by_the_answer_of_the_same_server():
    """Servers may have counted a worker that died meanwhile, or not."""
    for order in ((2, 3), (3, 2)):
        worker, desk = worker_at_desk(settings(2, servers=2), TENSORS)
        meeting = worker.meet(1, np.zeros(1))
        for server in order:
            letter = Letter(Kind.DONE, token=meeting.letter.token, nbytes=8, sender=server)
            worker.answer(letter)
            desk.comes(desk.wanted[0], np.array([float(server)]))
            assert meeting.done == (server == order[1])
        assert meeting.answer.view(np.float64) == [2.0]


def test_a_worker_forgets_what_is_done():
    worker, desk = worker_at_desk(settings(1), TENSORS)
    for sent in desk.take_sent():
        worker.answer(Letter(Kind.DONE, token=sent.letter.token, sender=1))
    for _ in range(5):
        worker.push("a", TENSORS["a"], 0, None)
        worker.clock()
        for sent in desk.take_sent():
            if sent.letter.kind == Kind.PUSH:
                worker.answer(Letter(Kind.DONE, token=sent.letter.token, sender=1))
    assert not worker._under_way
    assert set(worker._owed.values()) == {0}


def test_values_that_are_there_are_not_started_again():
    """The worker that sent them died before the others knew: the next one sends its own."""
    server, desk = server_at_desk(settings(2, "asp"), TENSORS)
    server.stored[0].slot.w += 5
    again = Letter(Kind.INIT, 0, token=7, nbytes=NBYTES, sender=1)
    server.handle(again)
    assert desk.discarded == [again]
    assert [(sent.peer, sent.letter.token) for sent in desk.sent] == [(1, 7)]
    assert np.all(server.stored[0].slot.w == 5)
