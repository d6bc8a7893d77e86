"""Places: a plausible address for each country, to fill in forms."""

from typing import NamedTuple


class Place(NamedTuple):
    code: str
    #: Names of the country, English first.
    names: tuple[str, ...]
    city: str
    zip: str


_PLACES = """
AR Argentina; Buenos Aires; 1001
AT Austria, Österreich, Autriche; Wien; 1010
AU Australia; Sydney; 2000
BD Bangladesh; Dhaka; 1000
BE Belgium, Belgique, België, Belgien; Bruxelles; 1000
BR Brazil, Brasil; São Paulo; 01001-000
CA Canada, Kanada; Toronto; M5H 2N2
CH Switzerland, Schweiz, Suisse; Zürich; 8001
CL Chile; Santiago; 8320000
CN China, 中国; Beijing; 100000
CZ Czechia, Czech Republic, Česko; Praha; 11000
DE Germany, Deutschland, Allemagne; Berlin; 10115
DK Denmark, Danmark; København; 1050
EG Egypt; Cairo; 11511
ES Spain, España, Spanien, Espagne; Madrid; 28001
ET Ethiopia; Addis Ababa; 1000
FI Finland, Suomi; Helsinki; 00100
FR France, Frankreich; Paris; 75001
GB United Kingdom, Great Britain, UK, England; London; SW1A 1AA
GH Ghana; Accra; 00233
HU Hungary, Magyarország; Budapest; 1011
ID Indonesia; Jakarta; 10110
IE Ireland, Éire; Dublin; D01 F5P2
IL Israel; Tel Aviv; 6100000
IN India, Bharat; New Delhi; 110001
IR Iran; Tehran; 11369
IT Italy, Italia, Italien, Italie; Roma; 00118
JP Japan, 日本; Tokyo; 100-0001
KE Kenya; Nairobi; 00100
KR South Korea, Korea; Seoul; 04524
MA Morocco, Maroc; Rabat; 10000
MX Mexico, México; Ciudad de México; 06000
NG Nigeria; Lagos; 100001
NL Netherlands, Nederland, Niederlande; Amsterdam; 1012 AB
NO Norway, Norge; Oslo; 0150
NZ New Zealand, Aotearoa; Auckland; 1010
PE Peru, Perú; Lima; 15001
PH Philippines; Manila; 1000
PK Pakistan; Karachi; 74000
PL Poland, Polska, Polen; Warszawa; 00-001
PT Portugal; Lisboa; 1100-001
RO Romania, România; București; 010011
SE Sweden, Sverige, Schweden; Stockholm; 111 20
SN Senegal, Sénégal; Dakar; 10000
TH Thailand; Bangkok; 10200
TR Turkey, Türkiye; Istanbul; 34000
UA Ukraine, Україна; Kyiv; 01001
US United States, United States of America, USA; New York; 10001
VN Vietnam, Việt Nam; Hanoi; 100000
ZA South Africa; Cape Town; 8001
"""


def _place(line: str) -> Place:
    names, city, postal = line[3:].split("; ")
    return Place(line[:2], tuple(names.split(", ")), city, postal)


_ALL = tuple(map(_place, _PLACES.strip().splitlines()))
_BY_NAME = {name.casefold(): place for place in _ALL for name in (place.code, *place.names)}


def place_of(country: str) -> Place:
    """Returns a place in `country` (a code or a name); an invented one for an unknown country."""
    found = _BY_NAME.get(country.strip().casefold())
    return found or Place("", (country.strip()[:60] or "Elsewhere",), "Springfield", "12345")
