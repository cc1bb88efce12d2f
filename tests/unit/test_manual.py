"""The manual is true: its tables are what the software does, and its queries work as pasted."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import asyncpg
import pytest
import reference
from client_matrix import CASES, WAYS, client_version, merged, missing, outcome, unread
from reference import table
from support import PATIENCE, Database, Service, WebService, run_whoisd

from whoisd.answers import wire
from whoisd.answers.disclosure import RULES, Facts, Reason
from whoisd.commands import probing
from whoisd.database import hosts, store
from whoisd.database.views import DOMAIN
from whoisd.errors import Outcome
from whoisd.limits import ledger, sources
from whoisd.limits.memory import LEDGER_SIZE
from whoisd.log import EVENTS
from whoisd.registry import access, classification, files, loader, progress, report
from whoisd.registry.records import RECORDS, SCHEMA
from whoisd.server import context, delivery, fleet, observer, proxy, sockets
from whoisd.server.metrics import Board, BoardCollector, Findings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
AROUND = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md")]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def page_of(name: str) -> Path:
    """The one page that has a part."""
    (page,) = [page for page in PAGES if f"<!-- {name} -->\n" in text_of(page)]
    return page


def part(name: str) -> str:
    """What stands between the marks of a part."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text_of(page_of(name)), re.DOTALL)
    assert found
    return found[1]


def rows(name: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line for line in part(name).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def check(name: str, table: str, *, rewrite: bool) -> None:
    if rewrite:
        page = page_of(name)
        before, mark, rest = text_of(page).partition(f"<!-- {name} -->\n")
        after = rest[rest.index(f"<!-- /{name} -->") :]
        page.write_text(before + mark + table + after, encoding="utf-8")
    assert part(name) == table


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite"))


async def test_views(sandbox_database: Database, rewrite: bool) -> None:
    """The manual has every column of the contract, with its type, as PostgreSQL tells it; each has a comment."""
    connection = await asyncpg.connect(sandbox_database.owner)
    found = await connection.fetch(
        "SELECT relname, attname, format_type(atttypid, atttypmod) AS type, col_description(attrelid, attnum) AS comment"
        " FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relnamespace = 'whois'::regnamespace AND relkind = 'v' AND relname <> 'registrant' AND attnum > 0"
        " ORDER BY relname, attnum"
    )
    await connection.close()
    assert [row["attname"] for row in found if not row["comment"]] == []
    types = {row["attname"]: row["type"] for row in found if row["relname"] == "domain"}
    assert {name: types[name] for name in DOMAIN.columns} == DOMAIN.columns
    body = [[f"`whois.{row['relname']}`", f"`{row['attname']}`", row["type"], row["comment"]] for row in found]
    check("views", table(["view", "column", "type", "what it holds"], body), rewrite=rewrite)


# --- the tables ------------------------------------------------------------------------------------------------------


def test_rules(rewrite: bool) -> None:
    """The rules of the manual are the rules of the software, row by row."""
    head = ["in force", "fresh", "protected", "party", "country", "locked", "number", "CVR", "bankrupt", "CVR form"]
    body = [
        ["–" if fact is None else str(fact).replace("_", " ") for fact in rule[: len(Facts._fields)]]
        + ["**shown**" if rule.shown else "withheld", f"`{rule.reason}`"]
        for rule in RULES
    ]
    check("rules", table([*head, "classified", "email", "reason"], body), rewrite=rewrite)


@pytest.mark.plain
@pytest.mark.parametrize("name", reference.MADE)
def test_reference(name: str, rewrite: bool) -> None:
    """Settings, commands, both man pages and the picture of the packages are what the code says (`make man` makes them)."""
    made = reference.MADE[name]()
    if rewrite:
        (ROOT / name).write_text(made, encoding="utf-8")
    assert text_of(ROOT / name) == made


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is missing: apt-get install mandoc")
@pytest.mark.parametrize("page", ["whoisd.8", "whoisd.toml.5"])
def test_man_pages(page: str) -> None:
    """The man pages are written as man pages are."""
    lint = ["mandoc", "-Tlint", "-Wwarning", str(ROOT / "man" / page)]
    ended = subprocess.run(lint, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_limits(rewrite: bool) -> None:
    """The manual lists every fixed limit with its number."""
    body = [
        ["length of a query line, its end not counted", f"{wire.LINE_LIMIT:,} bytes"],
        ["length of a PROXY header", f"{proxy.LIMIT:,} bytes"],
        ["input read and thrown away behind a query; then it is left unread", f"{delivery.DRAIN_LIMIT // 2**20} MiB"],
        ["connections that wait to be accepted (the kernel lowers it to `net.core.somaxconn`)", f"{sockets.BACKLOG:,}"],
        ["share of the open files (`ulimit -n`, less 64) that is kept for connections refused on arrival", "a fifth"],
        ["time for a client refused on arrival to close; the oldest makes room", f"{context.REFUSAL_DRAIN:g} s"],
        [
            "connections being refused up to which one that still sends has longer, at most `server.write_timeout`",
            f"{context.MOST_DRAINED:,}",
        ],
        ["what a client refused for the number of connections is told to wait", f"{sources.CONNECTIONS_RETRY} s"],
        ["bans: the first, second, third, and each one after", ", ".join(f"{seconds:,.0f} s" for seconds in ledger.BANS)],
        ["time without a ban after which one earlier ban is forgotten", f"{ledger.FORGIVEN_AFTER:,.0f} s"],
        ["sources and networks that are remembered at once", f"{ledger.ENTRIES:,}, in {LEDGER_SIZE / 2**20:.0f} MiB"],
        ["workers", f"{ledger.MOST_WORKERS}"],
        ["time without a sign of life after which a worker is replaced", f"{fleet.HANGS_AFTER:g} s"],
        ["pause before a process that keeps dying is started again", f"up to {fleet.LONGEST_PAUSE:g} s"],
        ["time for whoever asks for metrics to send the request and take the answer", f"{observer.PATIENCE:g} s"],
        ["requests for metrics at once; more are turned away", f"{observer.MOST_REQUESTS}"],
        ["length of an answer that `probe` accepts", f"{probing.ANSWER_LIMIT // 2**20} MiB"],
        ["names fetched from the database together", f"{store.LARGEST_BATCH}"],
        ["pause between tries to reach the database, in which queries fail at once", f"{hosts.RETRY_PAUSE:g} s"],
        ["pause between looks for a better database host than the one in use", f"{hosts.BETTER_PAUSE:g} s"],
        ["statement timeout of a lookup", "two thirds of `database.deadline`"],
        ["length of a line of a registry file", f"{files.LONGEST_LINE:,} bytes"],
        ["faults, and doubtful countries and VAT numbers, that one load reports; of the rest, all", f"{loader.MOST_FAULTS}"],
        ["time that `registrant classify` waits for another change of the registrant", f"{classification.LOCK_TIMEOUT:g} s"],
        ["length of a report that another is compared with", f"{report.LARGEST // 2**20} MiB"],
        ["time between two lines about a long command, where there is no terminal", f"{progress.INTERVAL:g} s"],
    ]
    check("limits", table(["limit", "value"], body), rewrite=rewrite)


def test_reasons() -> None:
    """The manual has a row for each reason."""
    assert [cells[0] for cells in rows("reasons")] == [f"`{reason}`" for reason in Reason]


def test_groups(rewrite: bool) -> None:
    """The manual has each group of the portal, what it gives access to, and the roles that lead to it."""
    body = [
        [
            access.GROUP_NAMES[group],
            ", ".join(str(operation).replace("_", " ") for operation in access.Operation if operation in operations),
            ", ".join(str(role).replace("_", " ") for role, leads_to in access.GROUP_OF.items() if leads_to is group),
        ]
        for group, operations in access.ACCESS.items()
    ]
    check("groups", table(["group", "gives access to", "for users whose highest role was"], body), rewrite=rewrite)


def test_outcomes_of_clients(rewrite: bool) -> None:
    """The manual says what each client makes of each case; that it does is held by test_clients.py."""
    body = [[case, *(outcome(way, case) for way in WAYS)] for case in CASES]
    check("cases", table(["asked for a domain that is", *WAYS], body), rewrite=rewrite)


def test_clients(rewrite: bool) -> None:
    """The manual says how each client is asked, and what it does not read as it stands in the answer."""
    body = [
        [
            f"**{name}**",
            client_version(way.client),
            way.asks,
            "; ".join(f"{' and '.join(labels)} as `{key}`" for key, labels in merged(way).items()),
            ", ".join([*unread(way), *([] if way.handles else ["the registrant, for which it does not ask"])]),
        ]
        for name, way in WAYS.items()
    ]
    check("clients", table(["client", "version", "asked by", "mixes up", "does not read"], body), rewrite=rewrite)


def test_denials(rewrite: bool) -> None:
    """The manual has each reason for which somebody is refused."""
    body = [[f"`{denial}`", sentence] for denial, sentence in access.SENTENCES.items()]
    check("denials", table(["reason", "what it means"], body), rewrite=rewrite)


def test_announcement() -> None:
    """Each test that the manual names for a sentence of the announcement is there, and each sentence has one."""
    found = [(said, re.fullmatch(r"`(\S+)::(test_\w+)`", test)) for said, test in rows("announcement")]
    assert [said for said, test in found if not test and not said.startswith("**")] == []
    for file, name in (test.groups() for _, test in found if test):
        assert re.search(rf"^(async )?def {name}\(", text_of(ROOT / "tests" / file), re.MULTILINE), (file, name)


def test_report(sandbox_database: Database, rewrite: bool) -> None:
    """The report that the manual shows is the one over the predefined data."""
    ran = run_whoisd("report", "disclosure", settings={"WHOISD_DATABASE__DSN": sandbox_database.reader})
    counts = "\n".join(line.rstrip() for line in ran.stdout.partition("\n\n")[2].splitlines())
    check("report", f"```\n{counts}\n```\n", rewrite=rewrite)


def test_outcomes() -> None:
    """The manual has a row for each outcome, with its event."""
    assert sorted((row[0], row[1]) for row in rows("outcomes")) == sorted((f"`{o}`", f"`{EVENTS[o]}`") for o in Outcome)


def test_metrics(rewrite: bool) -> None:
    """The manual lists every metric with its labels and what it tells."""
    board = Board(memoryview(bytearray(Board.size(1))), 1)
    body = []
    for metric in BoardCollector(board, Findings(0, {}, 0.0, {}, cvr_age=0.0, maintenance=0.0)).collect():
        samples = [sample for sample in metric.samples if not sample.name.endswith(("_sum", "_created"))]
        labels = ", ".join(f"`{label}`" for label in samples[0].labels)
        name = metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")
        body.append([f"`{name}`", metric.type, labels, metric.documentation])
    check("metrics", table(["metric", "type", "labels", "what it tells"], body), rewrite=rewrite)


def test_records(rewrite: bool) -> None:
    """The manual has every field of every record of a registry file, as the schema has it."""
    body = []
    for kind, record in RECORDS.items():
        schema = SCHEMA["$defs"][kind]
        body.append([f"**`{kind}`**", "", schema["description"]])
        for name in record._fields:
            field = schema["properties"][name]
            form = SCHEMA["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
            default = f"Default {json.dumps(field['default'])}." if "default" in field else ""
            needed = "Required." if name in schema["required"] else default
            what = " ".join(filter(None, [field.get("description", form.get("description", "")), needed]))
            body.append([f"`{name}`", form["must"].removeprefix("be "), what])
    check("records", table(["field", "form", "what it is"], body), rewrite=rewrite)


@pytest.mark.plain
def test_modules() -> None:
    """The manual names every module of each package."""
    found = re.findall(r"^\| `(\w+)` \| (.*?) \|", text_of(ROOT / "docs" / "architecture.md"), re.MULTILINE)
    named = {(package.replace("whoisd", ""), name) for package, names in found for name in re.findall(r"`(\w+)`", names)}
    root = ROOT / "whoisd"
    modules = {(path.parent.name.replace("whoisd", ""), path.stem) for path in root.rglob("*.py")}
    assert named == {(package, name) for package, name in modules if name not in ("__init__", "__main__")}


def test_words_and_decisions() -> None:
    """import-linter holds the whole of the package that answers to touch no clock, no system and no network."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contract = tomllib.loads(text)["tool"]["importlinter"]["contracts"][1]
    assert "whoisd.answers" in contract["source_modules"]


def test_speed(rewrite: bool) -> None:
    """The figures on the first screen of the README are those that were measured last."""
    measured = (ROOT / "bench/results/cost.md").read_text(encoding="utf-8")
    speed = re.search(r"^\| 1,300,000 \| 64 \| whoisd \| ([0-9,]+) ", measured, re.MULTILINE)
    memory = re.search(r"([0-9.]+) MiB after [0-9,]+ queries more", measured)
    assert speed
    assert memory
    queries = int(speed[1].replace(",", "")) // 100 * 100
    text = (
        f"* **Fast and small.** One worker answers {queries:,} queries a second from 1.3 million domains, in"
        f" {float(memory[1]):.0f} MiB of memory\n  ([measured](bench/results/cost.md) on one of two virtual CPUs).\n"
    )
    check("speed", text, rewrite=rewrite)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made of Markdown."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub("[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.plain
@pytest.mark.parametrize("page", [*PAGES, *AROUND], ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Every link within the repository leads to a file that is there and, on a page, to one of its headings."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_front_door() -> None:
    """The README fits on three screens, and leads to every page of the manual; so does the manual's index."""
    assert len(text_of(README).splitlines()) <= 150
    pages = {page.name for page in PAGES if page != README}
    assert set(re.findall(r"\]\(docs/([a-z-]+\.md)", text_of(README))) == pages
    assert set(re.findall(r"\]\(([a-z-]+\.md)", text_of(ROOT / "docs" / "index.md"))) == pages - {"index.md"}


# --- the queries -----------------------------------------------------------------------------------------------------


def test_query_of_each_reason(own_service: Service) -> None:
    """The query that the manual gives for a reason shows just that reason at work."""
    asked = 0
    for reason, _, query in rows("reasons"):
        if query.startswith("`"):
            own_service.ask(query.strip("`"))
            asked += 1
            event = own_service.wait_for_event("query.answered", asked)
            assert f"`{event.get('email') or event.get('registrant')}`" == reason


def test_example(service: Service) -> None:
    """The answer that the README shows is the answer that is given."""
    query = re.search(r"-- '(.*)'", part("example"))
    assert query
    shown = part("example").partition("\n\n")[2].removesuffix("```\n")
    assert service.ask(query[1]).replace("\r\n", "\n").partition("\n\n")[2] == shown


def test_version() -> None:
    """The answer that the manual shows is of this version, and the changes begin with it."""
    version = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["version"]
    assert f"# Version: whoisd {version}\n" in part("example")
    assert re.findall(r"^## ([0-9.]+)", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)[0] == version


@pytest.mark.skipif(bool(missing("whois")), reason=missing("whois"))
def test_commands_of_the_stock_client(service: Service) -> None:
    """Every whois command of the manual works as pasted."""
    commands = [
        line for page in PAGES for line in re.findall(r"^whois -h 127\.0\.0\.1 -p 4343 .*$", text_of(page), re.MULTILINE)
    ]
    assert len(commands) == 8
    for command in commands:
        pasted = command.replace("4343", str(service.port))
        ended = subprocess.run(["/bin/sh", "-c", pasted], capture_output=True, timeout=PATIENCE, check=True)
        answer = ended.stdout.decode("iso-8859-1")
        assert "Status:" in answer or "Glue:" in answer or "How to ask" in answer


# Every curl command of the manual that asks the sandbox over HTTP, in the manual's order, and what its answer has.
CURL_ANSWERS = {
    "page.md": ["DATA REDACTED"],
    "rdap.md": ["sole_proprietorship: ", "HTTP/1.1 404 Not Found", '"auth01.ns.dk-hostmaster.dk"'],
    "rest.md": ['"info@punktum.dk"', '"xn--4cabco7dk5a.dk"', '"glue_spooled"'],
}


def test_commands_of_curl(sandbox_database: Database) -> None:
    """Every curl command of the manual to the sandbox works as pasted, and is answered as its page says."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed: apt-get install curl")
    with WebService(sandbox_database.reader) as web:
        for page in PAGES:
            commands = re.findall(r"^ *(curl .*127\.0\.0\.1:8080.*)$", text_of(page), re.MULTILINE)
            for command, words in zip(commands, CURL_ANSWERS.get(page.name, []), strict=True):
                pasted = command.replace("8080", str(web.http_port))
                ended = subprocess.run(
                    ["/bin/sh", "-c", pasted], capture_output=True, text=True, timeout=PATIENCE, check=True
                )
                assert words in ended.stdout, command
