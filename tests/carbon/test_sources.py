"""Answers in the forms that APIs document are read; errors, HTML and impossible figures are named, never zero."""

import json
from pathlib import Path

import pytest

from producers.grid.electricity_maps import ElectricityMaps, parse_electricity_maps
from producers.grid.entsoe import Entsoe, parse_entsoe
from producers.grid.poller import poll
from producers.grid.tables import CsvFile, annual_intensities, read_factors, read_intensities, shipped_factors
from producers.grid.watttime import WattTime, parse_watttime
from schemas.errors import DataError, RateLimited, SourceError
from schemas.factors import KINDS
from schemas.side_input_codec import decode_grid, encode_grid

NOW_NS = 1_788_256_800_000_000_000
"""2026-09-01 10:00 UTC."""
HOUR_NS = 3_600_000_000_000

ELECTRICITY_MAPS = {
    "zone": "DE",
    "data": [
        {"zone": "DE", "carbonIntensity": 302, "datetime": "2026-09-01T08:00:00.000Z",
         "updatedAt": "2026-09-01T09:10:00.000Z", "createdAt": "2026-08-29T08:00:00.000Z",
         "emissionFactorType": "lifecycle", "isEstimated": False, "estimationMethod": None},
        {"zone": "DE", "carbonIntensity": 288.5, "datetime": "2026-09-01T09:00:00.000Z",
         "updatedAt": "2026-09-01T09:10:00.000Z", "createdAt": "2026-08-29T09:00:00.000Z",
         "emissionFactorType": "lifecycle", "isEstimated": True, "estimationMethod": "TIME_SLICER_AVERAGE"},
    ],
    "temporalGranularity": "hourly",
}  # fmt: skip
WATTTIME = {
    "data": [
        {"point_time": "2026-09-01T08:00:00+00:00", "value": 870.0, "last_updated": "2026-09-01T08:06:00+00:00"},
        {"point_time": "2026-09-01T08:05:00+00:00", "value": 880.5, "last_updated": "2026-09-01T08:11:00+00:00"},
    ],
    "meta": {"data_point_period_seconds": 300, "region": "CAISO_NORTH", "warnings": [],
             "signal_type": "co2_moer", "model": {"date": "2023-03-01"}, "units": "lbs_co2_per_mwh"},
}  # fmt: skip
NS = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"


def series(kind: str, points: str, *, domain: str = "inBiddingZone_Domain", curve: str = "A03") -> str:
    return f"""<TimeSeries><mRID>1</mRID><businessType>A01</businessType><objectAggregation>A08</objectAggregation>
      <{domain}.mRID codingScheme="A01">10Y1001A1001A82H</{domain}.mRID>
      <quantity_Measure_Unit.name>MAW</quantity_Measure_Unit.name><curveType>{curve}</curveType>
      <MktPSRType><psrType>{kind}</psrType></MktPSRType>
      <Period><timeInterval><start>2026-09-01T08:00Z</start><end>2026-09-01T09:00Z</end></timeInterval>
      <resolution>PT15M</resolution>{points}</Period></TimeSeries>"""


def point(position: int, quantity: float) -> str:
    return f"<Point><position>{position}</position><quantity>{quantity}</quantity></Point>"


def document(*parts: str) -> bytes:
    return f"""<?xml version="1.0" encoding="utf-8"?><GL_MarketDocument xmlns="{NS}"><mRID>x</mRID>
      <revisionNumber>1</revisionNumber><type>A75</type><createdDateTime>2026-09-01T09:30:00Z</createdDateTime>
      {"".join(parts)}</GL_MarketDocument>""".encode()


REFUSED = b"""<?xml version="1.0"?><Acknowledgement_MarketDocument
  xmlns="urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"><mRID>x</mRID>
  <Reason><code>999</code><text>%s</text></Reason></Acknowledgement_MarketDocument>"""


def test_electricity_maps_answers_with_validity_lag_and_the_estimated_flag():
    first, second = parse_electricity_maps(json.dumps(ELECTRICITY_MAPS).encode(), NOW_NS)
    assert (first.zone, first.g_per_kwh, first.basis, first.estimated) == ("DE", 302.0, "location", False)
    assert first.valid_to_ns - first.valid_from_ns == HOUR_NS
    assert first.lag_s == 600.0
    assert second.estimated
    assert "TIME_SLICER_AVERAGE" in second.source
    assert second.spread > first.spread
    assert [decode_grid(encode_grid(one)) for one in (first, second)] == [first, second]


def test_the_latest_and_the_history_of_electricity_maps_are_read_too():
    (latest,) = parse_electricity_maps(json.dumps(ELECTRICITY_MAPS["data"][0]).encode(), NOW_NS)
    history = parse_electricity_maps(
        json.dumps({"zone": "DE", "history": ELECTRICITY_MAPS["data"]}).encode(), NOW_NS
    )
    assert latest == history[0]


def test_watttime_is_marginal_and_its_pounds_become_grams():
    first, _ = parse_watttime(json.dumps(WATTTIME).encode(), "US-CA", NOW_NS)
    assert first.basis == "marginal"
    assert first.g_per_kwh == pytest.approx(870 * 0.45359237)
    assert (first.valid_to_ns - first.valid_from_ns) / 1e9 == 300
    assert first.estimated


def test_entso_e_mixes_are_weighted_by_lifecycle_factors_and_left_out_points_repeat():
    body = document(
        series("B16", point(1, 100)),
        series("B04", point(1, 100) + point(3, 300)),
        series("B10", point(1, 500), domain="outBiddingZone_Domain"),
    )
    found = parse_entsoe(body, "DE", NOW_NS)
    assert [round(one.g_per_kwh, 6) for one in found] == [269.0, 269.0, 379.5, 379.5]
    assert {(one.valid_to_ns - one.valid_from_ns) / 1e9 for one in found} == {900}
    assert found[-1].lag_s == 1800.0


def test_entso_e_says_that_it_has_nothing_and_that_is_an_answer():
    assert parse_entsoe(REFUSED % b"No matching data found for Data item", "DE", NOW_NS) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!DOCTYPE html><html>Bad gateway</html>", "DTD"),
        (b"<html><body>Unauthorized</body></html>", "html"),
        (b"", "not XML"),
        (REFUSED % b"Unauthorized. Missing token", "Missing token"),
        (document(series("B17", point(1, 900)), series("B16", point(1, 100))), "100 of 1000 MW"),
        (document(series("B16", point(1, 100)).replace("PT15M", "P1D")), "P1D"),
        (document(series("B16", point(1, 100)).replace("MAW", "KWH")), "KWH"),
        (document(series("B16", "<Point><position>1</position><quantity>n/a</quantity></Point>")), "n/a"),
    ],
)
def test_what_entso_e_does_not_document_is_named(body: bytes, said: str):
    with pytest.raises(SourceError, match=said):
        parse_entsoe(body, "DE", NOW_NS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"error": "Zone 'XX' does not exist."}, "does not exist"),
        ({"message": "Invalid auth-token"}, "auth-token"),
        ({"temporalGranularity": "daily"}, "daily"),
        ({"data": None}, "list"),
        ({"data": [{**ELECTRICITY_MAPS["data"][0], "carbonIntensity": None}]}, "carbonIntensity"),
        ({"data": [{**ELECTRICITY_MAPS["data"][0], "carbonIntensity": 2000.5}]}, "2000"),
        ({"data": [{**ELECTRICITY_MAPS["data"][0], "carbonIntensity": -1}]}, "-1"),
        ({"data": [{**ELECTRICITY_MAPS["data"][0], "datetime": "yesterday"}]}, "yesterday"),
        ({"data": [ELECTRICITY_MAPS["data"][0],
                   {**ELECTRICITY_MAPS["data"][0], "datetime": "2026-09-01T08:30:00Z"}]}, "overlap"),
    ],
)  # fmt: skip
def test_what_electricity_maps_does_not_document_is_named(change: dict[str, object], said: str):
    with pytest.raises(SourceError, match=said):
        parse_electricity_maps(json.dumps({**ELECTRICITY_MAPS, **change}).encode(), NOW_NS)


@pytest.mark.parametrize("body", [b"<html>502</html>", b"[]", b"null", b"{}", b'{"error": "INVALID_SCOPE"}'])
def test_what_watttime_does_not_document_is_named(body: bytes):
    with pytest.raises(SourceError, match="WattTime"):
        parse_watttime(body, "US-CA", NOW_NS)


def test_every_source_keeps_the_contract():
    answers = {
        "electricitymaps": json.dumps(ELECTRICITY_MAPS).encode(),
        "watttime.org/login": b'{"token": "t"}',
        "watttime.org/v3": json.dumps(WATTTIME).encode(),
        "entsoe": document(series("B16", point(1, 100))),
    }

    def fetch(url: str, headers: object) -> bytes:
        del headers
        return next(body for part, body in answers.items() if part in url)

    for source in (
        ElectricityMaps("secret", fetch),
        WattTime("user", "secret", fetch, {"US-CA": "CAISO_NORTH"}),
        Entsoe("secret", fetch, {"DE": "10Y1001A1001A82H"}),
    ):
        zone = "US-CA" if isinstance(source, WattTime) else "DE"
        found = source.intensities(zone, NOW_NS - 2 * HOUR_NS, NOW_NS, NOW_NS)
        assert found
        assert {one.zone for one in found} == {zone}
        assert all(0 <= one.g_per_kwh <= 2000 and one.valid_from_ns < one.valid_to_ns for one in found)
        assert all(decode_grid(encode_grid(one)) == one for one in found)


def test_a_zone_that_fails_keeps_no_other_back_and_a_rate_limit_says_how_long():
    published: list[object] = []

    class Patchy:
        name = "patchy"

        def intensities(self, zone: str, from_ns: int, to_ns: int, now_ns: int):
            del from_ns, to_ns
            if zone == "XX":
                raise SourceError("no such zone")
            if zone == "LATE":
                raise RateLimited("slow down", 120.0)
            return parse_electricity_maps(json.dumps(ELECTRICITY_MAPS).encode(), now_ns)

    done = poll(
        Patchy(), ["XX", "DE", "LATE", "FR"], published.extend, from_ns=0, to_ns=NOW_NS, now_ns=NOW_NS
    )
    assert (done.published, len(published), done.wait_s) == (2, 2, 120.0)
    assert [failure.split(":")[0] for failure in done.failures] == ["XX", "LATE"]


def test_a_csv_of_ones_own_is_read_and_its_mistakes_are_placed(tmp_path: Path):
    path = tmp_path / "hours.csv"
    header = "zone,valid_from,valid_to,g_per_kwh\n"
    path.write_text(
        header + "DE,2026-09-01T08:00Z,2026-09-01T09:00Z,300\nDE,2026-09-01T09:00Z,2026-09-01T10:00Z,310\n"
    )
    assert [one.g_per_kwh for one in read_intensities(path)] == [300.0, 310.0]
    assert len(CsvFile(path).intensities("DE", NOW_NS - HOUR_NS, NOW_NS, NOW_NS)) == 1
    with pytest.raises(SourceError, match="'FR' is not in the file"):
        CsvFile(path).intensities("FR", 0, NOW_NS, NOW_NS)
    for line, said in (
        ("DE,2026-09-01T08:00Z,2026-09-01T09:00Z,much", "hours.csv:2: .*g_per_kwh is 'much'"),
        ("DE,2026-09-01T08:00Z,2026-09-01T09:00Z,2001", "g_per_kwh: 2001"),
        ("DE,2026-09-01T09:00Z,2026-09-01T08:00Z,300", "valid_to_ns"),
        ("DE,2026-09-01 08:00,2026-09-01T09:00Z,300", "no time zone"),
    ):
        path.write_text(header + line + "\n")
        with pytest.raises(DataError, match=said):
            read_intensities(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pue,default,2026-01-01,0.9,meter", "pue of 'default' = 0.9"),
        ("lifetime,H100,2026-01-01,-3,book", "lifetime of 'H100' = -3"),
        ("wue,default,2026-01-01,nan,meter", "nan"),
        ("charm,default,2026-01-01,1,x", "charm"),
        ("pue,default,2026-01-01,1.2,", "no source"),
    ],
)
def test_factors_outside_their_limits_are_refused_by_name(tmp_path: Path, line: str, said: str):
    path = tmp_path / "factors.csv"
    path.write_text(f"kind,scope,effective_from,value,source\n{line}\n")
    with pytest.raises(DataError, match=said):
        read_factors(path)


def test_what_ships_is_complete_for_the_demo_and_names_its_sources():
    zones = {one.zone: one for one in annual_intensities()}
    assert {"DE", "NO-NO2", "US-CA", "FR"} <= set(zones)
    assert all(one.resolution == "annual" and one.source and one.spread > 1 for one in zones.values())
    kinds = {one.kind for one in shipped_factors()}
    assert kinds == set(KINDS) - {"meter_device", "meter_generation", "meter_host"}
    assert all(one.source and one.licence for one in shipped_factors())
