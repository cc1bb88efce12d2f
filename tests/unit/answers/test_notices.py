"""Every sentence that a client may read besides the fields of an answer."""

import re

import pytest

from whoisd.answers.notices import (
    BAD_PROXY_HEADER,
    FAULTS,
    FOOT,
    HELP,
    NO_ENTRIES,
    PHRASES_FOR_FREE,
    TEMPORARY_FAILURE,
    UNTRUSTED_PROXY,
    WORDS_FOR_FREE_ALONE,
    about_lines,
    head,
    read_timeout,
    refusal,
    too_many_requests,
)
from whoisd.errors import NameFault, QueryFault

ABOUT = about_lines("the registry", "0.1.0", "One line of terms.\n\nAnother one.", 2026)
HEAD = head("192.0.2.7", ABOUT)
FAULTY = [refusal(fault) for fault in (*QueryFault, *NameFault)]
REFUSALS = [*FAULTY, read_timeout(10), UNTRUSTED_PROXY, BAD_PROXY_HEADER, TEMPORARY_FAILURE, too_many_requests(30)]
COMMENTS = [HEAD, FOOT, HELP, read_timeout(10), UNTRUSTED_PROXY, BAD_PROXY_HEADER, *FAULTY]
NOTICES = [HEAD, FOOT, HELP, *REFUSALS]


def test_no_entries_is_the_line_that_clients_test_for() -> None:
    """The answer when nothing is found is exactly this line."""
    assert NO_ENTRIES == "No entries found for the selected source.\n"


@pytest.mark.parametrize("notice", NOTICES)
def test_no_other_notice_reads_as_free(notice: str) -> None:
    """No notice but the not-found one holds, in any case, a phrase that clients take for an unregistered name."""
    assert [phrase for phrase in PHRASES_FOR_FREE if phrase in notice.lower()] == []


@pytest.mark.parametrize(
    "text",
    [
        "no entries found",
        "not found",
        "no match",
        "not registered",
        "not available",
        "available",
        "free",
        "no data found",
        "does not exist",
        "no such domain",
        "no matching record",
        "nothing found",
        "unassignable",
        "malformed request",
    ],
)
def test_phrases_for_free_know_what_clients_search_for(text: str) -> None:
    """Each text that clients are known to take for a free name holds one of the phrases."""
    assert any(phrase in text for phrase in PHRASES_FOR_FREE)


@pytest.mark.parametrize("notice", REFUSALS)
def test_no_refusal_reads_as_free_or_as_a_record(notice: str) -> None:
    """A refusal holds no word that makes a short answer a free name to clients, and no colon, which two take for a field."""
    assert [word for word in WORDS_FOR_FREE_ALONE if word in notice.lower()] == []
    assert {"error", "generic", "restricted"} == {*WORDS_FOR_FREE_ALONE}
    assert ":" not in notice


@pytest.mark.parametrize("notice", [TEMPORARY_FAILURE, too_many_requests(30)])
def test_what_passes_is_throttling_to_php_whois(notice: str) -> None:
    """To the PHP client with the most users what passes is throttling: the answer begins WHOIS ... LIMIT EXCEEDED."""
    assert re.match(r"WHOIS .*LIMIT EXCEEDED", notice, re.IGNORECASE)


@pytest.mark.parametrize("phrase", [*PHRASES_FOR_FREE, *WORDS_FOR_FREE_ALONE])
def test_phrases_for_free_are_in_lower_case(phrase: str) -> None:
    """A phrase is in lower case, as the text is that it is searched in."""
    assert phrase == phrase.lower()


@pytest.mark.parametrize("notice", [*NOTICES, NO_ENTRIES])
def test_notices_are_ascii_lines(notice: str) -> None:
    """Every notice is ASCII, so that it reads the same in each charset, of whole lines, with no control character."""
    assert notice.isascii()
    assert notice.endswith("\n")
    assert notice.replace("\n", "").isprintable()


@pytest.mark.parametrize("notice", COMMENTS)
def test_comment_lines_begin_with_a_hash(notice: str) -> None:
    """A comment line is '# ' and its text, or '#' alone; none ends in a space."""
    comments = [line for line in notice.splitlines() if line]
    assert [line for line in comments if line != "#" and not line.startswith("# ")] == []
    assert [line for line in comments if line != line.rstrip()] == []


@pytest.mark.parametrize("fault", [*QueryFault, *NameFault])
def test_every_fault_has_one_comment_line(fault: QueryFault | NameFault) -> None:
    """A refusal for any fault is one comment line with the fault's own sentence."""
    assert refusal(fault) == f"# {FAULTS[fault]}\n"
    assert refusal(fault).count("\n") == 1


def test_faults_have_sentences_of_their_own() -> None:
    """No two faults are told in the same words, and there is a sentence for nothing else."""
    assert set(FAULTS) == {*QueryFault, *NameFault}
    assert len(set(FAULTS.values())) == len(FAULTS)


def test_head() -> None:
    """The head names the client, then copyright, version and terms between empty comments, and ends in a blank line."""
    assert HEAD == (
        "# Hello 192.0.2.7. Your session has been logged.\n"
        "#\n"
        "# Copyright (c) 2002 - 2026 by the registry\n"
        "#\n"
        "# Version: 0.1.0\n"
        "#\n"
        "# One line of terms.\n"
        "#\n"
        "# Another one.\n"
        "\n"
    )


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\N{LINE SEPARATOR}", "\x85", "\x0b"])
def test_terms_of_any_line_ends_stay_comments(line_end: str) -> None:
    """However the lines of the terms end, each is a comment line."""
    about = about_lines("the registry", "0.1.0", f"first{line_end}second\n", 2026)
    assert about.endswith("#\n# first\n# second\n")


def test_notice_for_a_time() -> None:
    """What the operator has to tell just now is the first line after the greeting."""
    about = about_lines("the registry", "0.1.0", "Terms.", 2026, "No changes until Thursday.")
    assert about.startswith("#\n# No changes until Thursday.\n#\n# Copyright (c) 2002 - 2026 by the registry\n")


def test_foot() -> None:
    """The foot is a blank line and two comment lines that point to --show-handles and to HELP."""
    blank, handles, asking = FOOT.splitlines()
    assert blank == ""
    assert "--show-handles" in handles
    assert "HELP" in asking


@pytest.mark.parametrize(
    "word", ["--charset=", "iso-8859-1", "latin-1", "latin1", "utf-8", "utf8", "--show-handles", "HELP"]
)
def test_help_has_every_option(word: str) -> None:
    """The help names every option and every charset."""
    assert word in HELP


@pytest.mark.parametrize(("seconds", "written"), [(10, "10"), (10.0, "10"), (0.5, "0.5")])
def test_read_timeout(seconds: float, written: str) -> None:
    """A client that sent no whole line is told in how many seconds it had to."""
    assert read_timeout(seconds) == f"# No whole query came within {written} seconds.\n"


def test_too_many_requests() -> None:
    """The two lines are those that clients take for throttling; the second says when to come back."""
    assert too_many_requests(17) == (
        "WHOIS LIMIT EXCEEDED. Too many requests, try again later.\n# Too many connections. Retry after 17 seconds.\n"
    )


def test_temporary_failure() -> None:
    """When the data cannot be reached the answer is exactly this line."""
    assert TEMPORARY_FAILURE == "WHOIS time limit exceeded. Temporary failure, please try again later.\n"
