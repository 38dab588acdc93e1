from ringleader.bench.page import write_section


def test_each_section_is_replaced_alone(tmp_path):
    page = tmp_path / "page.md"
    write_section(page, "one", "## One\n\nold \\1")
    write_section(page, "two", "## Two\n")
    assert page.read_text() == (
        "# Results\n\n<!-- one -->\n\n## One\n\nold \\1\n\n<!-- end of one -->\n\n"
        "<!-- two -->\n\n## Two\n\n<!-- end of two -->\n"
    )
    write_section(page, "one", "new \\2")
    assert page.read_text() == (
        "# Results\n\n<!-- one -->\n\nnew \\2\n\n<!-- end of one -->\n\n<!-- two -->\n\n## Two\n\n<!-- end of two -->\n"
    )


def test_what_others_have_written_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("mine")
    write_section(page, "one", "1")
    assert page.read_text() == "mine\n\n<!-- one -->\n\n1\n\n<!-- end of one -->\n"
