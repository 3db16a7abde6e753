"""Which language a search is made in where only the country is said: the one that most people read there.

Contract: `hl` is the "language of the interface; else that of the country".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# The first word is the language (ISO 639), the others are countries. Where a country's own language has
# no interface of Google's, its language of administration stands here.
_SPOKEN: Final = """
am ET
ar AE BH DJ DZ EG EH IQ JO KM KW LB LY MA MR OM PS QA SA SD SY TD TN YE
az AZ
bg BG
bn BD
bs BA
ca AD
cs CZ
da DK FO GL
de AT CH DE LI
el CY GR
es AR BO CL CO CR CU DO EC ES GQ GT HN MX NI PA PE PR PY SV UY VE
et EE
fa AF IR
fi AX FI
fr BE BF BI BJ BL CD CF CG CI CM FR GA GF GN GP HT LU MC MF MG ML MQ MU NC NE PF PM RE SC SN TF TG WF YT
hr HR
hu HU
hy AM
id ID
is IS
it IT SM VA
iw IL
ja JP
ka GE
km KH
ko KP KR
ky KG
lo LA
lt LT
lv LV
mk MK
mn MN
ms BN MY
mt MT
my MM
ne NP
nl AW BQ CW NL SR SX
no BV NO SJ
pl PL
pt AO BR CV GW MZ PT ST TL
ro MD RO
ru BY KZ RU TJ TM
si LK
sk SK
sl SI
so SO
sq AL XK
sr ME RS
sv SE
sw KE TZ
th TH
tr TR
uk UA
ur PK
uz UZ
vi VN
zh CN HK MO TW
"""

_LANGUAGES: Final[Mapping[str, str]] = {
    country: line.split()[0] for line in _SPOKEN.strip().splitlines() for country in line.split()[1:]
}


def language_of(country: str) -> str:
    """Return the language of a country as Google writes it, such as `"de"`; `"en"` where none is known.

    Args:
        country: An ISO 3166-1 alpha-2 code in capital letters.
    """
    language = _LANGUAGES.get(country, "en")
    # Google writes Chinese with the country whose characters are meant.
    return {"CN": "zh-CN"}.get(country, "zh-TW") if language == "zh" else language
