"""What stands behind the registers obeys the laws that a plausible site obeys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voke_sim.plc.physics import (
    DAY,
    GENERAL_FAULT,
    HOUR,
    Battery,
    Cabinet,
    Inverter,
    Load,
    Pulse,
    Sun,
    noise,
)
from voke_sim.plc.site import Site, SiteOptions

times = st.floats(0.0, 10 * DAY)
steps = st.lists(
    st.tuples(
        st.just(0.0) | st.floats(0.001, 900.0),  # seconds; below a millisecond a mean power means nothing
        st.one_of(st.none(), st.floats(-60_000.0, 60_000.0)),  # a new set-point
        st.sampled_from([0, 0, 0, GENERAL_FAULT]),
    ),
    max_size=40,
)


@given(time=times, cloudiness=st.floats(0.0, 1.0))
def test_light_is_a_share_of_full_sun_and_none_at_night(time: float, cloudiness: float) -> None:
    light = Sun(cloudiness=cloudiness).irradiance(time)
    assert 0.0 <= light <= 1.0
    if not 5.5 <= (time % DAY) / HOUR <= 20.5:
        assert light == 0.0


def test_noon_is_brighter_than_morning_and_clouds_take_light() -> None:
    clear = Sun(cloudiness=0.0)
    assert clear.irradiance(7 * HOUR) < clear.irradiance(10 * HOUR) < clear.irradiance(13 * HOUR)
    assert Sun(cloudiness=0.9).irradiance(13 * HOUR) < clear.irradiance(13 * HOUR)


@given(time=times, every=st.floats(1.0, 3600.0))
def test_weather_depends_on_time_and_seed_only_and_does_not_jump(time: float, every: float) -> None:
    here = noise("a", time, every)
    assert 0.0 <= here <= 1.0
    assert noise("a", time, every) == here
    assert abs(noise("a", time + every / 1000.0, every) - here) < 0.01


@given(time=times)
def test_a_load_is_always_positive_and_below_its_peak(time: float) -> None:
    load = Load()
    assert 0.0 < load.power(time) <= load.peak + load.base


@given(steps=steps, start=st.floats(0.0, 40_000.0))
def test_a_battery_stays_between_empty_and_full_and_within_its_ramp(
    steps: list[tuple[float, float | None, int]], start: float
) -> None:
    battery = Battery(capacity=40_000.0, stored=start)
    for seconds, setpoint, fault in steps:
        if setpoint is not None:
            taken = battery.ask(setpoint)
            assert taken == (abs(setpoint) <= 50_000.0)
        battery.fault_code = fault
        before, stored, ramped = battery.power, battery.stored, battery.charged - battery.discharged
        battery.step(seconds)
        assert 0.0 <= battery.soc <= 100.0
        assert -battery.max_discharge <= battery.power <= battery.max_charge
        if seconds and not fault:
            grows = abs(battery.power) - abs(before)
            assert grows <= battery.ramp * seconds + 1e-6
        assert battery.stored - stored == pytest.approx(battery.power * seconds / HOUR, abs=1e-6)
        assert battery.charged - battery.discharged - ramped == pytest.approx(
            battery.stored - stored, abs=1e-6
        )
        if fault:
            assert battery.power == 0.0


def test_a_battery_reaches_its_set_point_and_refuses_at_full() -> None:
    battery = Battery(capacity=10_000.0, stored=9_900.0, ramp=5_000.0)
    battery.ask(20_000.0)
    battery.step(1.0)
    assert battery.power == 5_000.0
    for _ in range(4):
        battery.step(1.0)
    assert battery.power == 20_000.0
    for _ in range(60):
        battery.step(1.0)
    assert battery.soc == 100.0
    assert battery.power == 0.0
    battery.ask(-20_000.0)
    battery.step(1.0)
    assert battery.power < 0.0


def test_a_battery_refuses_at_empty() -> None:
    battery = Battery(capacity=10_000.0, stored=10.0)
    battery.ask(-20_000.0)
    for _ in range(60):
        battery.step(1.0)
    assert battery.soc == 0.0
    assert battery.power == 0.0


def test_a_watchdog_that_is_not_fed_stops_the_battery_once_it_was_used() -> None:
    battery = Battery(watchdog_timeout=10.0)
    battery.ask(5_000.0)
    battery.watch(1000.0)
    assert battery.setpoint == 5_000.0  # never used, never bites
    battery.feed_watchdog()
    battery.watch(9.0)
    battery.feed_watchdog()
    battery.watch(9.0)
    assert battery.setpoint == 5_000.0
    battery.watch(1.0)
    assert battery.watchdog_tripped
    assert battery.setpoint == 0.0


@given(steps=st.lists(st.tuples(st.floats(0.0, 3600.0), st.floats(0.0, 1.0)), max_size=60))
def test_an_inverters_total_only_grows_and_power_stays_below_its_rating(
    steps: list[tuple[float, float]],
) -> None:
    inverter = Inverter()
    time = 0.0
    for seconds, light in steps:
        time += seconds
        total = inverter.energy_total
        inverter.step(time, seconds, light)
        assert inverter.energy_total >= total
        assert inverter.energy_today >= 0.0
        assert 0.0 <= inverter.ac_power <= inverter.rating + 1e-6
        assert inverter.ac_power <= inverter.dc_power
        assert all(220.0 < voltage < 245.0 for voltage in inverter.voltages)


def test_an_inverter_with_a_fault_or_without_light_makes_no_power() -> None:
    inverter = Inverter()
    inverter.step(1.0, 1.0, 0.8)
    assert inverter.awake
    inverter.step(2.0, 1.0, 0.001)
    assert not inverter.awake
    inverter.fault_code = GENERAL_FAULT
    inverter.step(3.0, 1.0, 0.8)
    assert inverter.ac_power == 0.0


@pytest.mark.parametrize(
    ("running", "active"), [(0.0, False), (2.0, True), (4.9, True), (5.0, False), (12.0, True), (15.5, False)]
)
def test_a_pulse_comes_and_goes(running: float, *, active: bool) -> None:
    assert Pulse(start=2.0, length=3.0, every=10.0).active(running) is active


def test_a_pulse_without_period_comes_once() -> None:
    assert [Pulse(start=1.0, length=1.0).active(t) for t in (0.5, 1.5, 2.5, 101.5)] == [
        False,
        True,
        False,
        False,
    ]


def test_a_cabinet_shows_events_and_what_is_forced() -> None:
    cabinet = Cabinet(pulses=[(3, Pulse(start=1.0, length=1.0)), (5, Pulse(start=1.0, length=1.0))])
    cabinet.step(0.0)
    assert cabinet.mask == cabinet.normal
    cabinet.step(1.0)
    assert cabinet.mask == (cabinet.normal | 1 << 3) & ~(1 << 5)
    cabinet.forced[3] = False
    cabinet.forced[23] = True
    cabinet.step(1.0)
    assert cabinet.mask == (cabinet.normal | 1 << 23) & ~(1 << 5)


@given(
    advances=st.lists(
        st.tuples(st.floats(0.0, 60.0), st.one_of(st.none(), st.integers(-50_000, 50_000))), max_size=25
    ),
    factor=st.sampled_from([1.0, 60.0, 600.0]),
    seed=st.integers(0, 5),
)
def test_a_sites_energy_balances_and_its_counters_only_grow(
    advances: list[tuple[float, int | None]], factor: float, seed: int
) -> None:
    site = Site(
        SiteOptions(
            name="test",
            plant_id="3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f",
            seed=seed,
            time_factor=factor,
            second_inverter=True,
        )
    )
    for seconds, setpoint in advances:
        if setpoint is not None:
            site.battery.ask(setpoint)
        imported, exported = site.meter.imported, site.meter.exported
        made = site.inverter.energy_total + site.second_inverter.energy_total
        stored = site.battery.stored
        site.advance(seconds)
        hours = seconds * factor / HOUR
        sun = site.inverter.energy_total + site.second_inverter.energy_total - made
        from_grid = site.meter.imported - imported - (site.meter.exported - exported)
        assert site.meter.imported >= imported
        assert site.meter.exported >= exported
        used = site.load_power * hours
        assert from_grid + sun == pytest.approx(used + site.battery.stored - stored, abs=1e-3)


def test_the_same_seed_gives_the_same_day() -> None:
    def day() -> list[object]:
        options = SiteOptions(name="x", plant_id="3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f", time_factor=3600.0)
        site = Site(options)
        seen: list[object] = []
        for _ in range(24):
            site.advance(1.0)
            seen.append(site.truth())
        return seen

    assert day() == day()
