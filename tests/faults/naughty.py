"""Names that have broken programs: made by rules, so that nobody has to keep a list of them."""

from itertools import product

_MARKUP = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>",
    "</style>",
    "<iframe src=//x>", "<a href='javascript:alert(1)'>x</a>", "<!--", "-->", "]]>",
    "<![CDATA[x]]>",
    "&lt;b&gt;", "&#x3c;b&#62;", "&amp;amp;", "{{7*7}}", "{% raw %}", "${7*7}", "#{7*7}",
    "<%= 7 %>",
    "\" onmouseover=\"alert(1)", "' autofocus onfocus='alert(1)", "javascript:alert(1)",
    "`alert(1)`",
    "</script><script>alert(1)</script>", "\\\"};alert(1);//", "'><b>", "<b", "<plaintext>",
    "<base href=//x>",
]  # fmt: skip
_FORMULAS = [
    f"{sign}{body}"
    for sign, body in product(
        "=+-@＝＋－＠",
        ("1+1", "cmd|'/C_calc'!A0", 'HYPERLINK("x")', "SUM(A1:A9)", "A1", "WEBSERVICE(1)"),
    )
]  # fmt: skip
_PATHS = [
    "../../etc/passwd", "..\\..\\windows", "/etc/shadow", "C:\\con", "con", "NUL", "aux.txt",
    "lpt1", "~",
    "~root", "$HOME", "%TEMP%", ".", "..", ".hidden", "a/b", "a\\b", "a:b", "a*b?", "file:///etc",
    "\\\\host\\x",
    "name.", "-rf", "--help", "*", "?", "|cat", ">out", "&", ";ls", "$(ls)", "`ls`", "!!",
]  # fmt: skip
_FORMATS = [
    "%s%s%s%n", "%d", "%(name)s", "{0}", "{}", "{name}", "{0.__class__}", "{labels[0]}", "\\n",
    "\\0", "\\x1b[31m",
    "\\u202e", "%00", "%0a", "%2e%2e%2f", "[red]x[/red]", "[/]", "[bold", "$x^2$",
    "$\\frac{1}{2}$", "$_$", "_x_",
    "**b**", "\\textbf", "^", "~~x~~", "|a|b|", "- item", "# head", "1.", "```",
]  # fmt: skip
_NULLS = [
    "null", "NULL", "Null", "None", "nil", "undefined", "NaN", "nan", "-nan", "inf", "-inf",
    "Infinity",
    "N/A", "n/a", "NA", "#N/A", "#REF!", "#DIV/0!", "true", "false", "TRUE", "yes", "no", "on",
    "off", "0",
    "-0", "00", "1", "1.0", "1e309", "1E2", "0x1F", "1_000", "1,5", "½", "②", "٣", "1/2",
    "2024-02-30", "3e",
    "constructor", "__proto__", "prototype", "toString", "__class__", "__init__", "self", "import",
    "SELECT", "'; DROP TABLE labels;--", "1 OR 1=1", "macro", "weighted", "mean", "all", "split",
    "photo",
]  # fmt: skip
_SCRIPTS = [
    "锈病", "さび病", "녹병", "ржавчина", "صدأ", "חלודה", "जंग", "สนิม", "rouille_foliaire",
    "Ölfleck", "ñandú",
    "ıi", "İI", "ﬀ", "ß", "ẞ", "ſ", "Å", "Å", "Ω", "Ω", "é", "e\u0301", "\u1100\u1161", "ᄀ",
    "ǅ", "ΐ", "ʼn",
    "Z̸̢̛a̵l̷g̶o̴", "o\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307", "\u0301acute",
    "می\u200cشود", "क्\u200dष",
    "🌾", "👨\u200d🌾", "👩🏽\u200d🔬", "🏳️\u200d🌈", "🇩🇪", "1️⃣", "❤️", "𝕣𝕦𝕤𝕥",
    "ｒｕｓｔ", "ʇsnɹ", "ruѕt", "𐍈", "𠜎", "ﷺ", "꧅",
]  # fmt: skip
_LONG = ["x" * 200, "锈" * 200, "a b " * 40 + "c", "_" * 150, "🌾" * 60, "W" * 120, "a\u0301" * 90]

_HIDDEN = [
    *(chr(code) for code in (*range(1, 9), 11, 12, *range(14, 32), *range(127, 160))),
    "\u200b", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2060",
    "\u2066",
    "\u2067", "\u2068", "\u2069", "\ufeff", "\u00ad", "\u061c", "\ufff9", "\U000e0041", "\ue000",
    "\x00",
]  # fmt: skip

HIDDEN = [f"rust{sign}{number}" for number, sign in enumerate(_HIDDEN)]
"""Names with a sign that cannot be seen: labels of that kind are refused."""


def make_names() -> list[str]:
    """More than 500 names that a label may have, each once, whatever their case and look."""
    plain = [*_MARKUP, *_FORMULAS, *_PATHS, *_FORMATS, *_NULLS, *_SCRIPTS, *_LONG]
    combined = [
        f"{first}{between}{second}"
        for (first, second), between in product(
            zip(_MARKUP, _SCRIPTS, strict=False),
            ("", " ", "'", '"', ",", ";", "\\", "|", "&", "#", "%"),
        )
    ]
    names: dict[str, str] = {}
    for name in (*plain, *combined):
        names.setdefault(name.strip().lower(), name.strip())
    return list(names.values())
