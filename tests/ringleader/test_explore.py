"""The commands that look at algorithms, as a user types them."""

import csv
import io
import json
import subprocess
import sys

import pytest
from ringleader.collectives import COLLECTIVES, algorithms
from ringleader.collectives.topology.units import seconds_text

from ringleader import arguments
from ringleader.cli import main
from ringleader.table import in_bytes


def run(capsys, line):
    code = main(line.split())
    return code, capsys.readouterr().out


def rows(capsys, line):
    code, out = run(capsys, f"{line} --json")
    assert code == 0
    return json.loads(out)


def refused(capsys, line):
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("ringleader: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("4096", 4096), ("64K", 65536), ("4M", 4 << 20), ("1.5GiB", 3 << 29), ("2kb", 2048)],
)
def test_sizes(text, value):
    assert arguments.size(text) == value
    assert arguments.sizes("1K-8K,3") == [1024, 2048, 4096, 8192, 3]


def test_rank_counts():
    assert arguments.counts("3,5-7,8-64x2") == [3, 5, 6, 7, 8, 16, 32, 64]


def test_units():
    assert [in_bytes(b) for b in (0, 1023, 1024, 5 << 20)] == ["0", "1023", "1K", "5M"]
    assert [seconds_text(s) for s in (0, 2e-9, 1.5e-6, 0.25, 3)] == ["0 s", "2 ns", "1.5 us", "250 ms", "3 s"]


def test_every_algorithm_is_listed_with_its_cost(capsys):
    listed = rows(capsys, "algorithms -n 6 -b 1M")
    assert [r["algorithm"] for r in listed] == [f"{c}/{a}" for c in COLLECTIVES for a in algorithms(c)]
    ring = next(r for r in listed if r["algorithm"] == "allreduce/ring")
    assert (ring["rounds"], ring["sent_factor"], ring["reduced_factor"]) == (10, 1.0, 1.0)
    code, text = run(capsys, "algorithms allreduce -n 6")
    assert code == 0
    assert "recursive-doubling" in text
    assert "how many times the lower bound" in text


def test_cost_over_ranges_as_json_and_csv(capsys):
    listed = rows(capsys, "cost allreduce/ring broadcast/chain:chunks=3 -n 2-4 -b 1K,2K")
    assert len(listed) == 2 * 3 * 2
    assert listed[-1]["algorithm"] == "broadcast/chain:chunks=3"
    assert listed[-1]["rounds"] == 4 + 3 - 2
    _, text = run(capsys, "cost allreduce/ring broadcast/chain:chunks=3 -n 2-4 -b 1K,2K --csv")
    assert [r["rounds"] for r in csv.DictReader(io.StringIO(text))] == [str(r["rounds"]) for r in listed]


def test_verify_proves_every_root(capsys):
    listed = rows(capsys, "verify broadcast/binomial -n 2-5 --programs")
    assert [(r["n"], r["proved"], r["failed"]) for r in listed] == [(n, n, False) for n in (2, 3, 4, 5)]
    assert "14" in run(capsys, "verify broadcast/binomial -n 2-5")[1]


def test_verify_shows_the_counter_example_of_a_wrong_schedule(capsys, tmp_path):
    good = tmp_path / "ring.xml"
    assert run(capsys, f"export allreduce/ring -n 3 -o {good}")[0] == 0
    assert run(capsys, f"verify {good}")[0] == 0
    lines = good.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if 'type="re"' in line)
    lines[at] = lines[at].replace('type="re"', 'type="cpy"')
    bad = tmp_path / "bad.xml"
    bad.write_text("\n".join(lines))
    assert main(["verify", str(bad)]) == 1
    said = capsys.readouterr().err
    assert "should hold the fold of" in said
    assert "rank 0" in said.replace("r0", "rank 0")


def test_simulate_names_the_bottleneck(capsys):
    (row,) = rows(capsys, "simulate allreduce/ring -n 8 -b 8M --on ring")
    moving, starting, folding = (1 << 20) / 25e9, 1e-6 + 1e-6, (1 << 20) / 50e9  # a round's seconds
    assert row["total_seconds"] == pytest.approx(14 * (moving + starting) + 7 * folding)
    assert row["link_busy"] == pytest.approx(14 * moving / row["total_seconds"])
    assert row["busiest_link"] == "host 0 -> host 1"
    assert row["topology_factor"] >= 1
    slow = rows(capsys, "simulate allreduce/ring -n 8 -b 8M --on ring --slow 3=5")[0]
    assert slow["total_seconds"] == pytest.approx(14 * (moving + starting + 4e-6) + 7 * 5 * folding)
    noisy = "simulate allreduce/ring -n 8 -b 8M --on ring --jitter 0.3 --seed"
    assert rows(capsys, f"{noisy} 1") == rows(capsys, f"{noisy} 1") != rows(capsys, f"{noisy} 2")


def test_simulate_shows_the_rounds(capsys):
    listed = rows(capsys, "simulate allreduce/ring -n 8 -b 8M --on ring --rounds")
    assert [(r["first_round"], r["rounds"]) for r in listed] == [(0, 7), (7, 7)]
    (whole,) = rows(capsys, "simulate allreduce/ring -n 8 -b 8M --on ring")
    assert sum(r["rounds"] * r["round_seconds"] for r in listed) == pytest.approx(whole["total_seconds"])
    assert listed[0]["waits_for"] == "host 0 -> host 1"


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m ringleader cost allreduce -n 2-200 | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[0].startswith("algorithm")
    assert done.stdout.splitlines()[1] in ("0", "141")  # 0 if all fitted into the pipe
    assert done.stderr == ""


def test_degraded_and_cut_links(capsys):
    argv = ["simulate", "allreduce/ring", "-n", "4", "-b", "8M", "--on", "switch", "--json"]
    main(argv)
    whole = json.loads(capsys.readouterr().out)[0]["total_seconds"]
    main([*argv, "--degrade", "host 1,switch 0=0.5"])
    assert json.loads(capsys.readouterr().out)[0]["total_seconds"] > 1.5 * whole
    with pytest.raises(SystemExit):
        main([*argv, "--cut", "host 1,switch 0"])
    said = capsys.readouterr().err
    assert "host 1" in said
    assert said.count("\n") == 1


def test_trace_is_chrome_json(capsys, tmp_path):
    path = tmp_path / "run.json"
    run(capsys, f"simulate allreduce/ring -n 4 -b 1M --trace {path}")
    assert json.loads(path.read_text())["traceEvents"]


@pytest.mark.parametrize("what", ["space-time", "time", "ownership", "links"])
def test_draw(capsys, tmp_path, what):
    path = tmp_path / "picture.svg"
    assert run(capsys, f"draw allreduce/ring -n 4 --what {what} -o {path}")[0] == 0
    assert path.read_text().lstrip().startswith("<?xml")


def test_draw_page_and_curves(capsys, tmp_path):
    page, curves = tmp_path / "ring.html", tmp_path / "curves.png"
    run(capsys, f"draw allreduce/ring -n 4 -o {page}")
    assert "</html>" in page.read_text()
    run(capsys, f"draw allreduce/ring allreduce/tree -n 4 -b 1K-1M --what curves -o {curves}")
    assert curves.read_bytes()[1:4] == b"PNG"


def test_tune_saves_a_table_and_says_why(capsys, tmp_path):
    path = tmp_path / "table.json"
    listed = rows(capsys, f"tune allreduce -n 8 -b 1K-1M --alpha 3us -o {path}")
    assert len(listed) == 11
    assert rows(capsys, f"tune allreduce -n 8 -b 1K-1M --table {path}") == listed
    _, text = run(capsys, f"tune allreduce -n 8 -b 1M --table {path} --why")
    assert f"> {listed[-1]['choice']}" in text


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("simulate allreduce/ring --on torsu:4x4", "known: switch, star, ring, mesh, torus"),
        ("simulate allreduce/ring -n 17 --on torus:4x4", "17"),
        ("simulate allreduce/rign", "known: bidirectional-ring, bine, "),
        ("simulate allredcue", "collectives: allreduce, broadcast"),
        ("cost allreduce/ring -n 0", "write 8, 2-64 or 8-4096x2"),
        ("cost allreduce/ring -n 8-2", "write 8, 2-64 or 8-4096x2"),
        ("cost allreduce/ring -b 4Q", "write bytes like 4096, 64K, 4M"),
        ("cost allreduce/ring -b 4M-1M", "from small to large"),
        ("cost broadcast/chain:chunk=3", "which takes chunks=..."),
        ("cost broadcast/chain:chunks=0", "chunks"),
        ("cost broadcast/chain:chunks=many", "chunks must be a whole number, got 'many'"),
        ("simulate allreduce/ring --placement spiral", "write block, cyclic, random:SEED"),
        ("simulate allreduce/ring --placement 0,0,1,2,3,4,5,6", "0"),
        ("simulate allreduce/ring --slow x", "write rank and factor like 3=2.5"),
        ("simulate allreduce/ring --slow 9=2", "9"),
        ("simulate allreduce/ring --ports 0", "ports must be a number from 1"),
        ("verify nowhere.xml", "there is no file 'nowhere.xml'"),
        ("draw allreduce -o x.svg", "draw shows one algorithm"),
        ("draw allreduce/ring -o x.gif", ".svg"),
        ("draw allreduce/ring -n 500 -o x.html", "64"),
        ("export barrier/dissemination -o x.xml", "barrier"),
        ("tune allreduce --table nowhere.json", "nowhere.json"),
        ("draw allreduce/ring", "-o/--output"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_with_a_remedy(capsys, line, remedy):
    assert remedy in refused(capsys, line)
