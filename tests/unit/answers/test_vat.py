"""What a VAT number is: python-stdnum's own examples, the numbers that tell who has them, and what is no number at all."""

from importlib import import_module
from random import Random
from string import ascii_uppercase, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whoisd.answers import vat
from whoisd.answers.disclosure import COUNTRIES
from whoisd.answers.vat import Number, is_cvr_form, is_cvr_number, judge, prepare

RIGHT, WRONG, PERSONS, ANOTHERS = Number.RIGHT, Number.WRONG, Number.PERSONS, Number.ANOTHERS
UNSETTLED, NONE = Number.UNSETTLED, Number.NONE

# The examples of python-stdnum's documentation, of which none is a real person's: taken; refused.
EXAMPLES = {
    "AD": ("U-132950-X", "I 706193 G"),
    "AL": ("AL J 91402501 L; K22218003V", "Z 22218003 V"),
    "AR": ("!20-05536168-2", "20267565392"),
    "AT": ("AT U13585627", "U13585626"),
    "AU": ("83 914 571 673", "99 999 999 999"),
    "AZ": ("140 155 5071", "140 155 5081; 1400057424"),
    "BE": ("BE 428759497", "BE431150351"),
    "BG": ("175074752", "175074751"),
    "BR": ("16.727.230/0001-97", "16.727.230.0001-98"),
    "BY": ("200988541; !MA1953684", "200988542"),
    "CA": ("12302 6635; 12302 6635 RC 0001", "123456783; 12345678Z"),
    "CH": ("CHE-107.787.577 IVA; CHE-100.155.212; 100.155.212", "CHE-107.787.578 IVA; CHE-100.155.213"),
    "CL": ("76086428-5; !CL 12531909-2", "12531909-3; 76086A28-5"),
    "CN": ("91110000600037341L", "A1110000600037341L; 12345"),
    "CO": ("213.123.432-1", "2131234325"),
    "CR": ("3-101-999999", "3-534-123559; 310132541"),
    "CY": ("CY-10259033P ", "CY-10259033Z"),
    "CZ": ("CZ 25123891; !7103192745; 640903926", "25123890"),
    "DE": ("DE 136,695 976; DE136695976", "136695978"),
    "DO": ("1-01-85004-3", "1018A0043; 101850042"),
    "DZ": ("?416001000000007; ?41201600000606600001", "12345"),
    "EC": ("1792060346-001", "1763154690001; 179206034601"),
    "EE": ("100594102", "100594103"),
    "EG": ("?100-531-385", "12345"),
    "ES": ("B64717838; !54362315K; !X-5253868-R; !M-1234567-L", "B64717839"),
    "FI": ("FI 20774740", "FI 20774741"),
    "FO": ("?623857", "1234; 12345X"),
    "FR": ("Fr 40 303 265 045; 23334175221; K7399859412; 4Z123456782", "84 323 140 391; IO334175221"),
    "GB": ("GB 980 7806 84; XI 980 7806 84", "802311781"),
    "GH": ("C0000803561", "C0000803562"),
    "GN": ("693770885", "693770880; 12345"),
    "GR": ("EL 094259216; GR 094259216; 094259216", "EL 123456781"),
    "GT": ("?576937-K; ?7108-0", "8977112-0; 1234567890123"),
    "HR": ("HR 33392005961", "33392005962"),
    "HU": ("HU-12892312", "HU-12892313"),
    "ID": ("01.312.166.0-091.000; 016090524017000", "123456789"),
    "IE": ("IE 6433435F; !IE 6433435OA; 8D79739I; 8+79739I; 8*79739I", "6433435E"),
    "IL": ("516179157", "516179150; 490154203237518; 416179157"),
    "IM": ("GB 980 7806 84", "802311781"),
    "IN": ("27AAPFU0939F1ZV", "27AAPFU0939F1Z; 369296450896540"),
    "IS": ("?IS 00621", "IS 0062199"),
    "IT": ("IT 00743110157; !RCCMNL83S18D969H", "00743110158"),
    "JP": ("5-8356-7825-6246", "2-8356-7825-6246"),
    "KE": ("P051365947M; !A004416331M", "12345; V1234567890"),
    "KR": ("?116-82-00276", "123456789"),
    "LT": ("119511515; LT 100001919017; 100004801610", "100001919018"),
    "LU": ("LU 150 274 42; 150:274:42", "150 274 43"),
    "LV": ("LV 4000 3521 600; !161175-19997; !328673-00679", "40003521601; 161375-19997; 328673-00677"),
    "MA": ("001561191000066; 00 21 36 09 30 00 040", "12345; 001561191000065"),
    "MC": ("FR 53 0000 04605; 53 0000 04605", "FR 53 0000 04606"),
    "ME": ("02655284", "02655283"),
    "MK": ("4030000375897; MK4057009501106", "4030000375890"),
    "MT": ("MT 1167-9112", "1167-9113"),
    "MX": ("!GODE 561231 GR8; MAB-930714-8T4; COMG-600703; !VACE-460910-SX6", "MAB-931314-8T4"),
    "MZ": ("400339910; 400 005 834", "12345"),
    "NL": ("004495445B01; NL4495445B01; 225437259B01; !NL002455799B11", "123456789B90"),
    "NO": ("NO 995 525 828 MVA; 988 077 917", "NO 995 525 829 MVA; 988 077 918"),
    "NZ": ("NZ 49-098-576", "136410133; 9125568"),
    "PE": ("20512333797", "20512333798"),
    "PL": ("PL 8567346215", "PL 8567346216"),
    "PT": ("PT 501 964 843", "PT 501 964 842"),
    "PY": ("80028061-0; 9991603; 2660-3", "800532492; 80123456789"),
    "RO": ("RO 185 472 90; 185 472 90; !1630615123457", "18547291"),
    "RS": ("101134702", "101134703"),
    "RU": ("!123456789047; 1234567894", "123456789037; 1234567895"),
    "SE": ("SE 123456789701; 1234567897", "123456789101; 1234567891"),
    "SG": ("00192200M; 197401143C; S16FC0121D; T01FC6132D", "123456"),
    "SI": ("SI 5022 3054", "SI 50223055"),
    "SK": ("SK 202 274 96 19", "SK 202 274 96 18"),
    "SM": ("?51; ?024165", "2416A; 1124165"),
    "SN": ("306 7221; 30672212G2; 3067221 2G2", "3067222; 1234567 0AZ"),
    "SV": ("0614-050707-104-8; SV 0614-050707-104-8", "0614-050707-104-0; 12345678"),
    "TH": ("0994000617721; 0-99-4-000-61772-1", "0-99-4-000-61772-3"),
    "TN": ("1234567/M/A/E/001; 1282182 W; 121J", "1219773U; 1234567/M/A/X/000"),
    "TR": ("4540536920; !17291716060", "4540536921; 454053692; 17291716050; 07291716092"),
    "TW": ("00501503", "00501502; 12345"),
    "UY": ("21-100342-001-7; UY 21 140634 001 1", "210303670014; 12345678"),
    "VE": ("!V-11470283-4", "V-11470283-3"),
    "VN": ("0100233488; 0314409058-002", "12345; 0100233480"),
}
KINDS = {"!": PERSONS, "?": UNSETTLED}


@pytest.mark.parametrize("country", EXAMPLES)
def test_examples(country: str) -> None:
    """python-stdnum's own examples come out as they should: `!` is a person's, `?` of a country whose form tells nothing."""
    good, bad = (texts.split("; ") for texts in EXAMPLES[country])
    for text in good:
        assert judge(text.lstrip("!?"), country) is KINDS.get(text[0], RIGHT), text
    for text in bad:
        assert judge(text, country) is WRONG, text


def test_every_country_has_examples() -> None:
    """Each country whose rules are known has an example."""
    assert set(EXAMPLES) == {*vat._MODULES} - {"DK"}


# --- who has it --------------------------------------------------------------------------------------------------

# By country: python-stdnum's module, what numbers look like (# is any digit, @ any letter), and whose they are.
COLUMNS = [
    ("BG", "bg.vat", "##########", PERSONS),
    ("BG", "bg.vat", "#########", RIGHT),
    ("CZ", "cz.dic", "8505[01]#####", PERSONS),
    ("CZ", "cz.dic", "4[0-9]05[01]####", PERSONS),
    ("CZ", "cz.dic", "8#05[01]####", PERSONS),
    ("CZ", "cz.dic", "9#05[01]####", PERSONS),
    ("CZ", "cz.dic", "CZ########", RIGHT),
    ("CZ", "cz.dic", "699######", RIGHT),
    ("CZ", "cz.dic", "6[0-8]#######", RIGHT),
    ("LV", "lv.pvn", "32#########", PERSONS),
    ("LV", "lv.pvn", "[01]#0[1-9]9#1####", PERSONS),
    ("LV", "lv.pvn", "[459]##########", RIGHT),
    ("LV", "lv.pvn", "[678]##########", UNSETTLED),
    ("ES", "es.nif", "[0-9KLM]#######@", PERSONS),
    ("ES", "es.nif", "[XYZ]#######@", PERSONS),
    ("ES", "es.nif", "[ABCDFGHNPQRSUVW]########", RIGHT),
    ("ES", "es.nif", "[NPQRSW]#######@", RIGHT),
    ("ES", "es.nif", "[EJ]########", RIGHT),
    ("SE", "se.orgnr", "##[01]#######", PERSONS),
    ("SE", "se.orgnr", "##[2-9]#######", RIGHT),
    ("IE", "ie.vat", "#######@[AW]", PERSONS),
    ("IE", "ie.vat", "#######@H", RIGHT),
    ("IE", "ie.vat", "#######@", RIGHT),
    ("PT", "pt.nif", "[1238]########", PERSONS),
    ("PT", "pt.nif", "45#######", PERSONS),
    ("PT", "pt.nif", "7[045]#######", PERSONS),
    ("PT", "pt.nif", "[569]########", RIGHT),
    ("PT", "pt.nif", "7[126789]#######", RIGHT),
    ("PT", "pt.nif", "4[0-4]#######", RIGHT),
    ("SK", "sk.dph", "[13]#########", PERSONS),
    ("SK", "sk.dph", "[24]#########", RIGHT),
    ("CY", "cy.vat", "[09]#######@", PERSONS),
    ("CY", "cy.vat", "1[013-9]######@", RIGHT),
    ("CY", "cy.vat", "[2-8]#######@", RIGHT),
    ("RO", "ro.cf", "1850517400###", PERSONS),
    ("RO", "ro.cf", "[1-9]#######", RIGHT),
    ("IT", "it.codicefiscale", "RSSMRA85T10A###@", PERSONS),
    ("IT", "it.iva", "#######0[1-9]##", RIGHT),
    ("TR", "tr.tckimlik", "###########", PERSONS),
    ("TR", "tr.vkn", "##########", RIGHT),
    ("HU", "", "8#########", PERSONS),
    ("HU", "hu.anum", "HU########", RIGHT),
    ("AD", "ad.nrt", "[EF]######@", PERSONS),
    ("AD", "ad.nrt", "[ALU]######@", RIGHT),
    ("AR", "ar.cuit", "2[0347]#########", PERSONS),
    ("AR", "ar.cuit", "3[034]#########", RIGHT),
    ("AZ", "az.voen", "#########2", PERSONS),
    ("AZ", "az.voen", "#########1", RIGHT),
    ("CL", "cl.rut", "########", PERSONS),
    ("CL", "cl.rut", "[0-4]########", PERSONS),
    ("CL", "cl.rut", "[5-9]########", RIGHT),
    ("EC", "ec.ruc", "17[0-5]#######001", PERSONS),
    ("EC", "ec.ruc", "179######0001", RIGHT),
    ("GH", "gh.tin", "P00########", PERSONS),
    ("GH", "gh.tin", "[CGQV]00########", RIGHT),
    ("ID", "id.npwp", "3174041705850###", PERSONS),
    ("ID", "id.npwp", "0##############", RIGHT),
    ("IN", "in_.gstin", "27AAA[HP]A####A1Z@", PERSONS),
    ("IN", "in_.gstin", "27AAA[CF]A####A1Z@", RIGHT),
    ("PE", "pe.ruc", "1[057]#########", PERSONS),
    ("PE", "pe.ruc", "20#########", RIGHT),
    ("RU", "ru.inn", "############", PERSONS),
    ("RU", "ru.inn", "##########", RIGHT),
    ("VE", "ve.rif", "[EPV]#########", PERSONS),
    ("VE", "ve.rif", "[CGJ]#########", RIGHT),
]


def drawn(form: str, chance: Random) -> str:
    """A text of this form."""
    text, rest = "", form
    while rest:
        if rest[0] == "[":
            inside, _, rest = rest[1:].partition("]")
            first, dash, last = inside.partition("-")
            letters = "".join(map(chr, range(ord(first[-1]), ord(last[0]) + 1))) if dash else ""
            text += chance.choice(first[:-1] + letters + last[1:] if dash else inside)
        else:
            text += chance.choice({"#": digits, "@": ascii_uppercase}.get(rest[0], rest[0]))
            rest = rest[1:]
    return text


@pytest.mark.parametrize(("country", "module", "form", "kind"), COLUMNS)
def test_who_has_it(country: str, module: str, form: str, kind: Number) -> None:
    """A dozen numbers of each kind, right by their check digits, tell who has them: with a prefix or without."""
    chance, found = Random(f"{country}{form}"), list[str]()  # noqa: S311 - the same each time, and no secret
    while len(found) < 12:
        number = drawn(form, chance)
        if (not module or import_module(f"stdnum.{module}").is_valid(number)) and not is_cvr_number(number):
            found.append(number)
    for number in found:
        bare = number.removeprefix(country)
        for text in (number, f"{country}{bare}", f" {country.lower()}\u00a0{bare[:3].lower()}-{bare[3:]}. "):
            assert judge(text, country) is kind, text


@pytest.mark.parametrize(
    ("country", "text"),
    [
        ("NO", "995525828MVA"), ("NO", "NO995525828"), ("NO", "995525828"),
        ("CH", "CHE107787577MWST"), ("CH", "CHE107787577TVA"), ("CH", "CHE107787577TPV"), ("CH", "CHE107787577"),
        ("CH", "107787577IVA"), ("CH", "107787577"),
        ("SE", "SE123456789701"), ("SE", "1234567897"), ("SE", "123456-7897"),
        ("GR", "EL094259216"), ("GR", "94259216"), ("GB", "XI980780684"), ("GB", "980780684"), ("MC", "FR53000004605"),
        ("SE", "se\u00a01234\u202f5678\u200997-01"), ("DE", "de.136-695\u2011976"), ("DE", "DE136\u2212695\u2013976"),
    ],
)  # fmt: skip
def test_what_makes_no_number_wrong(country: str, text: str) -> None:
    """A prefix and an ending may be missing; spaces, no-break ones too, hyphens, dots and lower case may be there."""
    assert judge(text, country) is RIGHT


@pytest.mark.parametrize(("country", "text"), [("CH", "CH107787577"), ("IM", "IM980780684"), ("MC", "MC53000004605")])
def test_codes_that_are_no_prefix(country: str, text: str) -> None:
    """The code of a country whose numbers begin otherwise makes a number wrong."""
    assert judge(text[2:], country) is RIGHT
    assert judge(text, country) is WRONG


# --- whose country's it is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("country", "text", "kind"),
    [
        ("SE", "DK13585628", ANOTHERS), ("SE", "13585628", ANOTHERS), ("SE", "dk 13 58 56 28", ANOTHERS),
        ("SE", "DK13585627", WRONG), ("SE", "13585627", WRONG), ("SE", "DE136695976", ANOTHERS),
        ("SE", "EL094259216", ANOTHERS), ("SE", "XI980780684", ANOTHERS), ("DE", "GR094259216", ANOTHERS),
        ("FI", "FI20774740", RIGHT), ("CZ", "CZ25123891", RIGHT), ("CZ", "25123891", UNSETTLED),
        ("NZ", "49091850", UNSETTLED),
        ("FR", "FR53000004605", RIGHT), ("MC", "FR40303265045", ANOTHERS), ("IM", "DE136695976", ANOTHERS),
        ("US", "12-3456789", UNSETTLED), ("HK", "12345678", UNSETTLED), ("US", "DE136695976", ANOTHERS),
        ("US", "DK13585628", ANOTHERS), ("US", "13585628", UNSETTLED), ("GL", "DK13585628", UNSETTLED),
        ("AX", "FI20774740", UNSETTLED), ("GP", "FR40303265045", UNSETTLED), ("RE", "FR40303265045", UNSETTLED),
        ("MQ", "FR40303265045", UNSETTLED), ("GF", "FR40303265045", UNSETTLED), ("YT", "FR40303265045", UNSETTLED),
        ("MF", "FR40303265045", UNSETTLED), ("BL", "FR40303265045", UNSETTLED), ("JE", "GB980780684", UNSETTLED),
        ("GG", "GB980780684", UNSETTLED), ("AX", "SE123456789701", ANOTHERS), ("XX", "123456", UNSETTLED),
        ("", "DK13585628", ANOTHERS), ("US", "FR40303265046", UNSETTLED),
    ],
)  # fmt: skip
def test_whose_country_it_is_of(country: str, text: str, kind: Number) -> None:
    """A number of another country's is none of the registrant's; one that CVR could have too is not settled."""
    assert judge(text, country) is kind


# --- what is no number -------------------------------------------------------------------------------------------

TRIED = ("19850517-1234", "+45 33646060", "1985-05-17", "NONE 2024", "4111 1111 1111 1111", "X1X1")


@pytest.mark.parametrize("text", TRIED)
def test_what_was_tried(text: str) -> None:
    """What once passed for a number is right in no country that there is."""
    assert {judge(text, country) for country in COUNTRIES - {"DK"}} <= {NONE, WRONG, UNSETTLED}


@pytest.mark.parametrize("country", ["SE", "FI", "US"])
@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "\u00a0",
            "-",
            "none",
            "n/a",
            "0",
            "00000000",
            "0000-0000",
            "x",
            "1",
            "see below",
            "applied for 2024-05-01",
        ),
        *(
            "\u017fE556000016701",
            "+45 33646060",
            "+4533646060",
            "\u0661\u0662\u0663\u0664",
            "12345678\u2603",
            "1234\u20265678",
            "1234'5678",
            "1" * 25,
            "(12345678)",
            "12=345678",
        ),
        *(
            "1985-05-17",
            "1985.5.7",
            "2024/12/31",
            "1899-01-01",
            "17-05-1985",
            "7.5.2024",
            "31/12/1999",
            "01 10 2010",
            "2010 10 01",
            "17-05-1885",
        ),
        *("19850517-1234", "19850517+1234", "20041231 1234", "18991001-1234", "19851102-1234", "19850525-1234"),
    ],
)
def test_what_stands_in_its_place(country: str, text: str) -> None:
    """What is blank, a remark, a telephone number, a date or a personal number written as one is no number at all."""
    assert judge(text, country) is NONE
    assert judge(f" {text} ", country) is NONE


@pytest.mark.parametrize(
    ("country", "text", "kind"),
    [
        ("US", "123", NONE), ("US", "1234", UNSETTLED), ("US", "AB12", UNSETTLED), ("US", "ABC12", NONE),
        ("SE", "AB12", WRONG), ("SE", "ABC12", NONE), ("SE", "NONE 2024", WRONG), ("US", "1" * 24, UNSETTLED),
        ("SE", "1985-13-17", WRONG), ("SE", "1985-05-32", WRONG), ("SE", "1785-05-17", WRONG), ("SE", "1985-05.17", WRONG),
        ("SE", "32-05-1985", WRONG), ("SE", "17-13-1985", WRONG), ("SE", "17-05-2185", WRONG), ("SE", "17-05.1985", WRONG),
        ("SE", "19851317-1234", WRONG), ("SE", "19850532-1234", WRONG), ("SE", "17850517-1234", WRONG),
        ("SE", "198505171234", WRONG), ("SE", "19850517-12345", WRONG), ("SE", "1985-00-17", WRONG),
        ("SE", "1985-05-00", WRONG),
        ("SE", "1985-10-20", NONE), ("SE", "1985-12-30", NONE), ("SE", "30-12-1985", NONE), ("SE", "19851230-1234", NONE),
        ("SE", "19851002-1234", NONE), ("SE", "19850917-1234", NONE), ("SE", "19850510-1234", NONE),
        ("SE", "1985-05-30", NONE),
        ("SE", "19850531-1234", NONE), ("SE", "19850500-1234", WRONG), ("SE", "19850017-1234", WRONG),
    ],
)  # fmt: skip
def test_where_a_number_begins(country: str, text: str, kind: Number) -> None:
    """A remark has more letters than digits, a date is one of the calendar, and nobody's number has but three digits."""
    assert judge(text, country) is kind


def test_random_digits() -> None:
    """Of strings of one to twenty random digits at most one in twenty passes, whatever the country."""
    chance = Random(20251103)  # noqa: S311 - the same each time, and no secret
    tries = ["".join(chance.choices(digits, k=chance.randint(1, 20))) for _ in range(600)]
    for country in EXAMPLES:
        assert sum(judge(text, country) is RIGHT for text in tries) <= len(tries) / 20, country


@given(
    st.text(st.characters(codec="utf-8"), max_size=40) | st.text("0123456789ABDEKSX -./+'\u00a0", max_size=20),
    st.sampled_from(sorted(COUNTRIES)),
)
def test_any_text(text: str, country: str) -> None:
    """Whatever stands in the place of a number, it is judged; and a mark more or less changes nothing but what is a date."""
    judgement = judge(text, country)
    assert judgement in {NONE, RIGHT, WRONG, PERSONS, ANOTHERS, UNSETTLED}
    assert NONE in {judgement, judge(text + "\u00a0", country)} or judge(text + "\u00a0", country) is judgement


# --- CVR ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "form", "right"),
    [
        *((text, True, True) for text in ("13585628", "DK13585628", "DK 13585628", " 13585628")),
        *((text, True, False) for text in ("13585627", "DK 99000018", "10000000", "00000001")),
        *(
            (text, False, False)
            for text in ("", "00000000", "1358562", "135856280", "DK  13585628", "13585628 ", "SE13585628")
        ),
        *((text, False, False) for text in ("13 58 56 28", "none", "dk13585628", "\u06613585628")),
    ],
)
def test_cvr_numbers(text: str, form: bool, right: bool) -> None:
    """A CVR number has eight digits, not all zero, and may have a prefix; the last digit is right by modulus 11."""
    assert (is_cvr_form(text), is_cvr_number(text)) == (form, right)


def test_prepared() -> None:
    """What a server prepares before it answers is all that judging needs."""
    vat._rules.cache_clear()
    prepare()
    assert vat._rules.cache_info().currsize == len(vat._MODULES)
