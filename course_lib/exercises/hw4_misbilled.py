"""hw4_scaling, the ways in which dollars, MFU and energy are miscalculated."""

import math
from collections.abc import Callable

from course_lib.exercises.engine import Misconception
from course_lib.exercises.hw4_bill import DAY, HOUR, energy_mwh, mfu, training_cost

Answer = Callable[..., float]


def times(reference: Answer, told: dict[str, tuple[float, ...]]) -> list[Misconception]:
    """What is right but for a factor; a message may tell of several."""
    return [
        Misconception(message, lambda *given, factor=factor: reference(*given) * factor)
        for message, factors in told.items()
        for factor in factors
    ]


def named(told: dict[str, list[Answer]]) -> list[Misconception]:
    return [
        Misconception(message, lambda *given, wrong=wrong: float(wrong(*given)))
        for message, wrongs in told.items()
        for wrong in wrongs
    ]


def rounded(reference: Answer, *digits: int) -> list[Answer]:
    return [lambda *given, to=to: round(reference(*given), to) for to in digits]


PRICED = "Hours times dollars per hour is already dollars."
COST_MISTAKES = [
    *times(
        training_cost,
        {
            f"This matches a price per second. {PRICED}": (HOUR,),
            f"This matches hours taken for seconds, or a price converted to one per second. {PRICED}": (1 / HOUR,),
            f"This matches a price per minute. {PRICED}": (60,),
            f"This matches hours taken for minutes, or a price converted to one per minute. {PRICED}": (1 / 60,),
            f"This matches a price per day. {PRICED}": (1 / 24,),
            f"This matches hours taken for days. {PRICED}": (24,),
            f"This matches a price per year. {PRICED}": (1 / 8760, 1 / 8766),
            "This matches millions of dollars: dollars are asked for.": (1e-6,),
            "This matches thousands of dollars: dollars are asked for.": (1e-3,),
            "This matches cents: dollars are asked for, and the price is in dollars.": (100,),
            "This matches a price in cents: dollars_per_hour is in dollars.": (0.01,),
            "This matches hours times GPUs: GPU-hours count the hours of each GPU already.": (2048, 8),
            "This matches hours of one GPU alone: the hours of all of them are paid for.": (1 / 2048, 1 / 8),
        },
    ),
    *named(
        {
            "This matches a division. Hours times dollars per hour gives dollars.": [
                lambda hours, price: hours / price,
                lambda hours, price: price / hours,
            ],
            "This matches a sum. Multiply hours by dollars per hour.": [lambda hours, price: hours + price],
            "This matches $2 per hour whatever comes. That is V3's price; use dollars_per_hour.": [
                lambda hours, price: 2 * hours
            ],
            "This matches V3's $5.576M whatever comes: take gpu_hours and dollars_per_hour.": [
                lambda hours, price: 5_576_000
            ],
            "This matches V3's hours whatever comes: take gpu_hours.": [lambda hours, price: 2_788_000 * price],
            "This matches whole dollars or hours: fractions count too, a small run costs less than a dollar.": [
                lambda hours, price: math.floor(hours * price),
                lambda hours, price: math.ceil(hours * price),
                lambda hours, price: round(hours * price),
                lambda hours, price: int(hours) * price,
                lambda hours, price: round(hours) * price,
                lambda hours, price: hours * int(price),
            ],
            "This matches dollars rounded to cents: return all digits.": rounded(training_cost, 2),
        }
    ),
]

SECONDS = "peak_flops is FLOP per second, and gpu_hours is in hours of 3600 s."
MFU_MISTAKES = [
    *times(
        mfu,
        {
            f"This matches hours taken for seconds, or a peak taken for FLOP per hour: {SECONDS}": (HOUR,),
            "This matches a percentage: a fraction is asked for, 0.39 and not 39.": (100,),
            f"This matches hours taken for seconds, and a percentage: {SECONDS} A fraction is asked for.": (
                100 * HOUR,
            ),
            f"This matches 3600 twice, a peak converted to FLOP per hour and hours to seconds: {SECONDS}": (1 / HOUR,),
            f"This matches hours divided by 3600: {SECONDS} So the seconds are hours times 3600.": (HOUR**2,),
            f"This matches hours converted to minutes (x60): {SECONDS}": (60,),
            f"This matches hours taken for minutes, or 60 once too often: {SECONDS}": (1 / 60,),
            f"This matches hours taken for days, of 86,400 s: {SECONDS}": (1 / 24,),
            f"This matches hours converted to days (/24): {SECONDS}": (24,),
            "This matches teraFLOP: flops is FLOP and peak_flops FLOP per second, neither in 10^12 of them.": (
                1e12,
                1e-12,
            ),
            "This matches twice the peak, as with sparsity or FP8, or half of flops: take both as they come.": (1 / 2,),
            "This matches flops doubled, whose multiply and add count as two already, or half the peak: take both as "
            "they come.": (2,),
            "This matches 6 flops: flops is all the work already, and not N D.": (6,),
            "This matches the number of GPUs once more: GPU-hours are those of all, peak_flops is one GPU's.": (
                1 / 2048,
                2048,
                1 / 8,
                8,
            ),
        },
    ),
    *named(
        {
            "This matches one GPU in one day, 86,400 s: all of them together took gpu_hours, of 3600 s.": [
                lambda flops, hours, peak: flops / (DAY * peak),
                lambda flops, hours, peak: flops / DAY,
            ],
            f"This matches gpu_hours left out: {SECONDS}": [
                lambda flops, hours, peak: flops / peak,
                lambda flops, hours, peak: flops / (HOUR * peak),
            ],
            "This matches the speed that one GPU reached, in FLOP per second: divide it by peak_flops.": [
                lambda flops, hours, peak: flops / (hours * HOUR)
            ],
            f"This matches FLOP per GPU-hour: divide by peak_flops too. {SECONDS}": [
                lambda flops, hours, peak: flops / hours
            ],
            "This matches the FLOPs that the GPUs could have done: divide flops by them.": [
                lambda flops, hours, peak: hours * HOUR * peak,
                lambda flops, hours, peak: hours * peak,
            ],
            "This matches MFU inverted: what was done, flops, stands above what the GPUs could have done.": [
                lambda flops, hours, peak: 1 / mfu(flops, hours, peak),
                lambda flops, hours, peak: 1 / (HOUR * mfu(flops, hours, peak)),
                lambda flops, hours, peak: 100 / mfu(flops, hours, peak),
            ],
            "This matches the share that was not used, 1 - MFU.": [lambda *given: 1 - mfu(*given)],
            "This matches a division without brackets: a / b * c is (a / b) * c.": [
                lambda flops, hours, peak: flops / hours * HOUR * peak,
                lambda flops, hours, peak: flops / (hours * HOUR) * peak,
                lambda flops, hours, peak: flops / hours * peak,
                lambda flops, hours, peak: flops / peak * hours * HOUR,
                lambda flops, hours, peak: flops / peak * hours,
            ],
            "This matches the H800's peak whatever comes: take peak_flops.": [
                lambda flops, hours, peak, always=always: mfu(flops, hours, always)
                for always in (989.5e12, 989.4e12, 989e12, 990e12)
            ],
            "This matches a rounded fraction: return all digits.": rounded(mfu, 2, 3, 4),
            "This matches a whole number, from int() or //, which is 0 here: divide with /.": [
                lambda flops, hours, peak: flops // (hours * HOUR * peak)
            ],
        }
    ),
]

WATT_HOURS = "gpu_hours x watts is watt-hours, and 1 MWh is 1,000,000 of them."


def with_pue(change: Callable[[float], float]) -> list[Answer]:
    """The right energy of the GPUs, times what is made of the PUE."""
    return [lambda hours, watts, pue=1.0: energy_mwh(hours, watts) * change(pue)]


ENERGY_MISTAKES = [
    *named(
        {
            "This matches dividing by the PUE. Multiply: the building uses PUE times what the computers use.": with_pue(
                lambda pue: 1 / pue
            ),
            "This matches PUE left out: a data centre takes pue times what its computers take.": with_pue(
                lambda pue: 1
            ),
            "This matches 1 + pue: pue is the whole data centre over its computers, so the 1 is in it.": with_pue(
                lambda pue: 1 + pue
            ),
            "This matches pue - 1, all but the computers: they count too, so times pue.": [
                *with_pue(lambda pue: pue - 1),
                *with_pue(lambda pue: 1 - pue),
            ],
            "This matches 2 - pue: what is above 1 comes on top, so times pue.": with_pue(lambda pue: 2 - pue),
            "This matches PUE as a percentage: it is a ratio, and 1.1 is a tenth on top.": [
                *with_pue(lambda pue: pue / 100),
                *with_pue(lambda pue: 1 + pue / 100),
            ],
            "This matches PUE added to the energy: it is a ratio without a unit, so the energy is times pue.": [
                lambda hours, watts, pue=1.0: energy_mwh(hours, watts) + pue
            ],
            "This matches PUE twice: the energy is times pue once.": with_pue(lambda pue: pue**2),
            "This matches another PUE where none is given: its default is 1.0.": [
                lambda hours, watts, pue=other: energy_mwh(hours, watts, pue)
                for other in (0, 1.1, 1.12, 1.15, 1.2, 1.25, 1.3, 1.5, 1.58)
            ],
        }
    ),
    *times(
        energy_mwh,
        {
            f"This matches watt-hours, or watts taken for megawatts: {WATT_HOURS}": (1e6,),
            f"This matches kilowatt-hours, or watts taken for kilowatts: {WATT_HOURS}": (1e3,),
            f"This matches gigawatt-hours, or kilowatts where watts came: {WATT_HOURS}": (1e-3,),
            f"This matches terawatt-hours, or a division by 10^6 twice: {WATT_HOURS}": (1e-6,),
            "This matches 10e6, which is ten million: a million is 1e6.": (0.1,),
            f"This matches 1024 x 1024 for a million: {WATT_HOURS}": (1e6 / 1024**2,),
            f"This matches joules, which are watt-seconds: {WATT_HOURS}": (HOUR * 1e6,),
            f"This matches kilojoules, a joule being a watt-second: {WATT_HOURS}": (HOUR * 1e3,),
            f"This matches megajoules, or hours converted to seconds: {WATT_HOURS}": (HOUR,),
            f"This matches gigajoules, a joule being a watt-second: {WATT_HOURS}": (HOUR * 1e-3,),
            f"This matches hours taken for seconds, divided by 3600: {WATT_HOURS}": (1 / HOUR,),
            f"This matches hours converted to minutes (x60): {WATT_HOURS}": (60,),
            f"This matches hours taken for minutes, divided by 60: {WATT_HOURS}": (1 / 60,),
            f"This matches hours taken for days, times 24: {WATT_HOURS}": (24,),
            f"This matches hours converted to days (/24): {WATT_HOURS}": (1 / 24,),
            "This matches the number of GPUs once more: GPU-hours are those of all, watts is one GPU's.": (
                2048,
                8,
                1 / 2048,
                1 / 8,
            ),
        },
    ),
    *named(
        {
            "This matches 700 W whatever comes: take watts.": [
                lambda hours, watts, pue=1.0: energy_mwh(hours, 700, pue)
            ],
            "This matches V3's hours whatever comes: take gpu_hours.": [
                lambda hours, watts, pue=1.0: energy_mwh(2_788_000, watts, pue)
            ],
            "This matches watts left out: energy is power times time, W x h.": [
                lambda hours, watts, pue=1.0: hours * pue,
                lambda hours, watts, pue=1.0: hours * pue / 1e6,
            ],
            "This matches hours left out: energy is power times time, W x h.": [
                lambda hours, watts, pue=1.0: watts * pue,
                lambda hours, watts, pue=1.0: watts * pue / 1e6,
            ],
            "This matches watts and hours divided: energy is power times time, W x h.": [
                lambda hours, watts, pue=1.0: watts / hours * pue / 1e6,
                lambda hours, watts, pue=1.0: hours / watts * pue / 1e6,
                lambda hours, watts, pue=1.0: watts / hours * pue,
                lambda hours, watts, pue=1.0: hours / watts * pue,
            ],
            "This matches a rounded energy: return all digits.": rounded(energy_mwh, 0, 1, 2, 3),
            "This matches whole megawatt-hours, from int() or //: fractions count too, so divide with /.": [
                lambda hours, watts, pue=1.0: hours * watts * pue // 1e6
            ],
        }
    ),
]
