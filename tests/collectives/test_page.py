"""The page that steps through a schedule, in a real browser: it shows what the verifier knows, and nothing else."""

import re
from dataclasses import replace

import numpy as np
import pytest
from helpers.browser import chromium
from ringleader.collectives import COLLECTIVES, build, copy, fold, fragment
from ringleader.collectives.draw import page
from ringleader.collectives.draw.contents import COMPLETE, OTHER, History
from ringleader.collectives.draw.page import embedded
from ringleader.collectives.simulate import simulate
from ringleader.collectives.topology import topology

PATIENCE = 30  # s, for what takes two
HOSTILE = "</script><img src=x onerror=hurt=1><!-- <script> {{script}} $& \\ \" ' \u2028 \ud800 &lt;"

SHOWN = """[...document.querySelectorAll("#table td.cell")].map((td) => [td.textContent, td.className])"""
# Boxes of what must not touch: [what, left, top, right, bottom], for text as drawn.
BOXES = """(() => {
  const box = (e, what) => { const b = e.getBoundingClientRect(); return [what, b.left, b.top, b.right, b.bottom]; };
  const all = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.getClientRects().length);
  return [["header > *", "#controls"], ["#controls button", "#controls select", "#slider", "#status"],
    ["main > section"], ["#labels text", "#ranks circle"], ["#table th", "#table td.cell"], ["#map circle", "#map rect"],
    ["#cell-legend > li"], ["#load-table th", "#load-table td"], ["#load .pair > div"]]
    .map((group) => group.flatMap((selector) => all(selector).map((e, k) => box(e, selector + k))));
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def show(browser, tmp_path):
    """Opens the page of a schedule; whatever happens on it, nothing may be complained of or asked for."""

    def opened(schedule, **given):
        path = tmp_path / "page.html"
        page(schedule, path, **given)
        browser.resize(1280, 900)
        browser.open(path)
        return browser

    yield opened
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith(("file:", "data:"))] == []


def click(browser, name):
    browser.driver.find_element("id", name).click()


def press(browser, *keys):
    from selenium.webdriver import ActionChains, Keys

    chain = ActionChains(browser.driver)
    for key in keys:
        chain.send_keys(getattr(Keys, key))
    chain.perform()


def wait_for(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser.driver, PATIENCE).until(lambda _: browser.run(condition))


def text_of(browser, name):
    return browser.run("document.getElementById(arguments[0]).textContent", name)


def expected(history, after):
    """The number in every cell after so many rounds, and whether it is what was promised or something alien."""
    found = []
    for rank, row in enumerate(history.states[after].tolist()):
        for column, expression in enumerate(row):
            kind, amount = history.judge(rank, column, expression)
            number = "" if not amount else str(amount if history.most > 1 else history.rank_of(expression))
            found.append((number, kind == COMPLETE, kind == OTHER))
    return found


def cells(browser):
    return [
        (text, "complete" in names.split(), "other" in names.split()) for text, names in browser.run(SHOWN)
    ]


def written(history, expression):
    """The expression, folds from left to right, brackets around what is folded first on the right."""
    if expression < history.leaves:
        width = history.schedule.size("input")
        return f"r{expression // width}.{expression % width}"
    left, right = history.operands[expression - history.leaves]
    last = written(history, right)
    return f"{written(history, left)} + {last if right < history.leaves else f'({last})'}"


SCHEDULES = [
    ("allreduce", "ring", 4, 0), ("allreduce", "recursive-doubling", 6, 0), ("broadcast", "circulant", 5, 3),
    ("alltoall", "bruck", 5, 0), ("reduce", "binomial", 6, 2), ("exscan", "linear", 4, 0),
    ("barrier", "dissemination", 5, 0),
]  # fmt: skip


@pytest.mark.parametrize(("collective", "name", "n", "root"), SCHEDULES)
def test_every_step_shows_what_the_verifier_holds(show, collective, name, n, root):
    schedule = build(collective, name, n, root)
    history = History("test", schedule)
    browser = show(schedule)
    assert text_of(browser, "verdict").startswith("✓ proved in")
    for after in range(len(schedule) + 1):
        assert cells(browser) == expected(history, after)
        sent = history.rounds[after - 1] if after else []
        assert browser.run("document.querySelectorAll('#arrows .arrow').length") == len(sent)
        assert browser.run("document.querySelectorAll('#arrows .arrow.fold').length") == sum(
            m.folds for m in sent
        )
        assert browser.run("document.querySelectorAll('#list li').length") == len(sent)
        click(browser, "forward") if after < len(schedule) else None
    assert browser.run("document.getElementById('forward').disabled")
    promise = COLLECTIVES[collective].promise(n, schedule.slots, root)
    outputs = [c[1] for c, (buffer, _) in zip(cells(browser), history.columns * n) if buffer == "output"]
    assert outputs == (promise.lo >= 0).ravel().tolist()
    click(browser, "first")
    assert cells(browser) == expected(history, 0)


def test_messages_in_words(show):
    schedule = build("alltoall", "bruck", 4)
    browser = show(schedule)
    press(browser, "ARROW_RIGHT", "ARROW_RIGHT")
    said = browser.run("[...document.querySelectorAll('#list li')].map((li) => li.textContent)")
    sent = History("test", schedule).rounds[1]
    assert len(said) == len(sent) == 4
    assert said[0] == f"rank {sent[0].src} → rank {sent[0].dst}: copies scratch slots 1, 3"
    press(browser, "END")
    first = "document.querySelector('#list li').textContent"
    assert browser.run(first).startswith("rank 0, on itself: copies scratch")
    press(show(build("allreduce", "ring", 3)), "ARROW_RIGHT")
    assert browser.run(first) == "rank 0 → rank 1: folds output slot 2"


def test_keys_and_slider_step(show):
    schedule = build("allreduce", "ring", 4)
    history, browser = History("test", schedule), show(schedule)
    for after in range(1, len(schedule) + 1):
        press(browser, "ARROW_RIGHT")
        assert cells(browser) == expected(history, after)
    press(browser, "ARROW_RIGHT")
    assert text_of(browser, "status") == "Round 5 (6 of 6 done): 4 messages"
    press(browser, "ARROW_LEFT")
    assert cells(browser) == expected(history, len(schedule) - 1)
    press(browser, "HOME")
    assert text_of(browser, "status") == "Start (0 of 6 rounds done)"
    press(browser, "END")
    assert cells(browser) == expected(history, len(schedule))
    browser.run("document.getElementById('slider').focus()")
    press(browser, "HOME", "ARROW_RIGHT", "ARROW_RIGHT")
    assert cells(browser) == expected(history, 2)
    browser.run("document.querySelector('input[name=when][value=before]').click()")
    assert cells(browser) == expected(history, 1)


def test_play_runs_to_the_end_and_stops(show):
    schedule = build("allreduce", "ring", 3)
    browser = show(schedule)
    browser.run("document.getElementById('speed').value = '5'")
    press(browser, "SPACE")
    assert text_of(browser, "play-text") == "Pause"
    wait_for(browser, "document.getElementById('slider').value === '4'")
    wait_for(browser, "document.getElementById('play-text').textContent === 'Play'")
    assert cells(browser) == expected(History("test", schedule), 4)
    assert browser.run("timer === null")
    click(browser, "play")  # from the start again
    click(browser, "play")
    assert text_of(browser, "play-text") == "Play"
    assert browser.run("Number(document.getElementById('slider').value)") < 4


def test_hover_and_focus_tell_the_exact_expression(show):
    from selenium.webdriver import ActionChains

    schedule = build("allreduce", "recursive-doubling", 4)
    history, browser = History("test", schedule), show(schedule)
    press(browser, "END")
    told = written(history, int(history.states[-1][2, 0]))
    assert told == "r0.0 + r1.0 + (r2.0 + r3.0)"
    cell = browser.driver.find_element("css selector", "[data-cell='2']")
    ActionChains(browser.driver).move_to_element(cell).perform()
    assert (
        text_of(browser, "tip")
        == f"rank 2, output slot 0 holds\n{told}\nfinal, as promised; changed in this round"
    )
    assert cell.get_attribute("aria-describedby") == "tip"
    press(browser, "ESCAPE")
    assert browser.run("document.getElementById('tip').hidden")
    browser.run("cells[0].focus()")
    press(browser, "ARROW_DOWN", "HOME")  # in the grid, keys move from cell to cell
    assert text_of(browser, "tip").startswith("rank 1, output slot 0 holds")
    assert cells(browser) == expected(history, len(schedule))
    assert browser.run("document.querySelectorAll('#table td[tabindex=\"0\"]').length") == 1


@pytest.mark.parametrize("after", range(5))
def test_every_expression_is_written_out(show, after):
    schedule = build("reduce_scatter", "recursive-halving", 8)
    history, browser = History("test", schedule), show(schedule)
    click(browser, "last")
    shown = browser.run("stateAfter(arguments[0]).map(([e]) => expressionText(e))", min(after, len(schedule)))
    states = history.states[min(after, len(schedule))].ravel().tolist()
    assert shown == [written(history, e) for e in states]


def test_expressions_that_double_for_ever_are_cut(show):
    ring = build("allreduce", "recursive-doubling", 2)
    swap = fold([0, 1], [1, 0]).repeat(40)
    browser = show(replace(ring, rounds=(swap,)))
    click(browser, "last")
    shown = browser.run("expressionText(shown[0][0])")
    assert shown.endswith(" + …")
    assert shown.count("r") == 256


def test_a_wrong_round_is_shown_with_its_fault(show):
    ring = build("allreduce", "ring", 4)
    conflict = copy([0, 1], [2, 2], slot=[3, 3])
    browser = show(replace(ring, rounds=(*ring.rounds[:1], conflict, *ring.rounds[1:])))
    verdict = "wrong in round 3, rank 2, slot 3: 2 writers to output that are not one fold"
    assert text_of(browser, "verdict") == f"✗ {verdict}"
    assert "✗" not in text_of(browser, "status")
    click(browser, "to-fault")
    assert text_of(browser, "status").endswith(f"✗ {verdict}")
    assert browser.run("document.getElementById('forward').disabled")  # nothing is shown beyond
    assert browser.run("[...document.querySelectorAll('td.fault')].map((td) => td.dataset.cell)") == ["11"]
    assert browser.run("document.querySelectorAll('#arrows .wrong').length") == 2
    assert text_of(browser, "list").count("(here is the fault)") == 2


def test_a_wrong_end_is_shown_with_its_fault(show):
    ring = build("allreduce", "ring", 4)
    short = replace(ring, rounds=ring.rounds[:1])
    browser = show(short, topology=topology("ring", ranks=4))
    assert text_of(browser, "verdict").startswith(
        "✗ wrong at the end, rank 0, slot 1: should hold the fold of r0.1"
    )
    press(browser, "END")
    assert browser.run("[...document.querySelectorAll('td.fault')].map((td) => td.dataset.cell)") == ["1"]
    assert browser.run("document.querySelectorAll('td.complete').length") == 4


def test_a_rank_that_does_not_exist_is_named(show):
    ring = build("allreduce", "ring", 3)
    browser = show(replace(ring, rounds=(copy([0], [7]),)), topology=topology("ring", ranks=3))
    press(browser, "END")
    assert "there is no rank 7" in text_of(browser, "status")
    assert text_of(browser, "list").startswith("rank 0 → rank 7: copies")


def test_names_do_no_harm(show):
    browser = show(replace(build("allreduce", "ring", 3), name=HOSTILE))
    assert browser.run("typeof hurt") == "undefined"
    assert browser.run("document.images.length") == 0
    assert browser.run("document.scripts.length") == 2
    title = text_of(browser, "title")
    assert title.startswith("allreduce, </script><img src=x onerror=hurt=1><!-- ")
    assert browser.run("document.title") == re.sub(" +", " ", title)
    press(browser, "END")
    assert text_of(browser, "status").startswith("Round 3")


def test_json_cannot_leave_its_element():
    text = embedded({"name": HOSTILE})
    assert not set("<>&") & set(text)
    assert text.isascii()


def test_links_show_the_simulators_loads(show):
    schedule, where = build("allreduce", "ring", 8), topology("islands:gpus=4,islands=2", ranks=8)
    whole = simulate(schedule, 8 << 20, where)
    browser = show(schedule, topology=where, nbytes=8 << 20)
    sums = np.array(browser.run("sums.map((s) => [...s])"))
    assert np.allclose(sums[-1], whole.link_bytes, rtol=1e-12)
    assert np.allclose(
        np.diff(sums, axis=0)[0],
        simulate(replace(schedule, rounds=schedule.rounds[:1]), 8 << 20, where).link_bytes / 7,
    )
    assert np.isclose(browser.run("load.rounds.reduce((s, r) => s + r.seconds, 0)"), whole.total, rtol=1e-12)
    press(browser, "END")
    first = browser.run("[...document.querySelector('#load-table tbody tr').cells].map((c) => c.textContent)")
    assert first[:4] == [f"★ {whole.bottleneck.link}", "1 MiB", "14 MiB", "14 MiB"]
    used = int(np.count_nonzero(whole.link_bytes))
    assert browser.run("document.querySelectorAll('#wires .used').length") == used
    link = [where.link_name(k) for k in range(len(where.links))].index(whole.bottleneck.link)
    told = browser.run("linkText(arguments[0])", link)
    assert told == f"{whole.bottleneck.link}\nin the round: 1 MiB, 21 µs\nso far: 14 MiB, 294 µs"
    press(browser, "HOME")
    assert browser.run("document.querySelectorAll('#wires .used').length") == 0
    assert browser.run("document.querySelector('#map').querySelectorAll('circle').length") == 8


def test_ranks_stand_where_they_are_placed(show):
    schedule, where = build("allreduce", "ring", 4), topology("mesh:1x6")
    browser = show(schedule, topology=where, placement=[5, 0, 3, 1])
    labels = browser.run("[...document.querySelectorAll('#vertices > g')].map((g) => g.textContent)")
    assert labels == ["1", "3", "", "2", "", "0"]
    whole = simulate(schedule, 1 << 20, where, placement=[5, 0, 3, 1])
    busiest = browser.run("document.querySelector('#load-table tbody tr').cells[0].textContent")
    assert busiest == f"★ {whole.bottleneck.link}"


def test_without_a_topology_there_are_no_links(show):
    assert browser_has(show(build("allreduce", "ring", 3)), "load") is False


def browser_has(browser, name):
    return browser.driver.find_element("id", name).is_displayed()


@pytest.mark.parametrize("width", [1000, 1280, 1600])
@pytest.mark.parametrize(
    ("collective", "name", "n", "where"),
    [
        ("allreduce", "ring", 8, "ring"), ("allreduce", "recursive-doubling", 16, "fat-tree:k=4"),
        ("alltoall", "bruck", 16, "islands:gpus=8"), ("broadcast", "circulant", 16, "torus:4x4"),
        ("alltoall", "linear", 16, "switch"),
        ("allgather", "direct", 8, "dragonfly:groups=5,routers=4,hosts=2"),
    ],
)  # fmt: skip
def test_nothing_overlaps(show, width, collective, name, n, where):
    schedule = build(collective, name, n)
    browser = show(schedule, topology=topology(where, ranks=n))
    browser.resize(width, 900)
    for step in {1, 2, len(schedule) // 2, len(schedule)}:
        browser.run("go(arguments[0])", step)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run("$('scroll').scrollWidth <= $('scroll').clientWidth")
        for group in browser.run(BOXES):
            assert touching(group) == []


def touching(boxes):
    found = []
    for k, (a, *one) in enumerate(boxes):
        for b, *other in boxes[:k]:
            wide = min(one[2], other[2]) - max(one[0], other[0])
            high = min(one[3], other[3]) - max(one[1], other[1])
            if wide > 0.6 and high > 0.6:
                found.append((a, b))
    return found


def test_nothing_moves_where_motion_is_not_wanted(show):
    browser = show(build("allreduce", "ring", 3))
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    press(browser, "ARROW_RIGHT")
    style = "getComputedStyle(document.querySelector('.arrow')).animationName"
    assert browser.run(style) == "appear"
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    assert browser.run(style) == "none"
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_file_refers_to_nothing_else(tmp_path):
    path = tmp_path / "page.html"
    text = page(build("allreduce", "ring", 4), path, topology=topology("switch", ranks=4))
    assert (
        path.read_text(encoding="utf-8")
        == text
        == page(build("allreduce", "ring", 4), topology=topology("switch", ranks=4))
    )
    assert set(re.findall(r"https?://[^\s\"'<]*", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(
        r"\b(src|href)=(?!\"data:,\")|@import|url\((?!#)|fetch\(|XMLHttp|innerHTML|eval\(", text
    )
    assert "{{" not in text


@pytest.mark.parametrize(
    ("schedule", "given", "said"),
    [
        (lambda: build("allreduce", "ring", 100), {}, "page: 100 ranks are too many to see"),
        (lambda: fragment(2, 1, []), {}, "page: a fragment promises nothing"),
        (lambda: build("allreduce", "ring", 3), {"path": "x.svg"}, "page: cannot write 'x.svg'; use .html or .htm"),
        (lambda: build("allreduce", "ring", 9), {"topology": topology("ring:8")}, "too few for 9 ranks"),
        (lambda: build("allreduce", "ring", 9), {"topology": topology("ring:99")}, "page: 99 hosts of ring:99"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_in_one_line(schedule, given, said):
    with pytest.raises(ValueError) as refusal:
        page(schedule(), **given)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
